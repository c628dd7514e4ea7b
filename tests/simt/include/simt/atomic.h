// Atomics: one thread runs at a time and goes on until it waits for others, so plain code is atomic. Integers only:
// sums of floats in any order are not deterministic, and kernels do not make them.
#pragma once

#include <atomic>
#include <concepts>
#include <type_traits>

namespace simt {

template <class T>
concept Atomic = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;

template <Atomic T, class Change>
T update(T* at, Change change) {
  const T before = *at;
  *at = change(before);
  return before;
}

}  // namespace simt

// Every one returns the value that stood there before.
template <simt::Atomic T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
  return simt::update(at, [=](T before) { return static_cast<T>(before + value); });
}
template <simt::Atomic T>
T atomicMax(T* at, std::type_identity_t<T> value) {
  return simt::update(at, [=](T before) { return before > value ? before : value; });
}
template <simt::Atomic T>
T atomicMin(T* at, std::type_identity_t<T> value) {
  return simt::update(at, [=](T before) { return before < value ? before : value; });
}
template <simt::Atomic T>
T atomicOr(T* at, std::type_identity_t<T> value) {
  return simt::update(at, [=](T before) { return static_cast<T>(before | value); });
}
template <simt::Atomic T>
T atomicExch(T* at, std::type_identity_t<T> value) {
  return simt::update(at, [=](T) { return value; });
}
template <simt::Atomic T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return simt::update(at, [=](T before) { return before == expected ? value : before; });
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {  // the host may read from another thread
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
