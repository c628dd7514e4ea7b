// Several neighbouring elements that move in one instruction: 16 bytes are the widest that a thread loads or stores.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace subquad::kernels::cuda {

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};

template <class T>
inline constexpr int kPackWidth = 16 / static_cast<int>(sizeof(T));  // elements in 16 bytes

template <int N, class T>
__device__ inline Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <int N, class T>
__device__ inline void store_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// May rows of `stride` elements that start at `data` be read in packs of N? Asked on the host, before the launch.
template <int N, class T>
bool can_pack(const T* data, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(data) % (sizeof(T) * N) == 0 && stride % N == 0;
}

}  // namespace subquad::kernels::cuda
