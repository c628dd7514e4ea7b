// Stands in for kernels/warp/ptx.cuh, where the functions are explained: the same on the CPU, and with complaints where
// hardware would do something undefined.
#pragma once

#include <bit>
#include <cstdint>

#include <simt/block.h>
#include <simt/matrix.h>

namespace subquad::kernels::cuda {

inline void copy_async_16(void* shared, const void* global, bool valid = true) {
  simt::start_copy(shared, global, 16, valid);
}
inline void copy_async_4(void* shared, const void* global, bool valid = true) {
  simt::start_copy(shared, global, 4, valid);
}
inline void copy_async_commit() {
  simt::close_copies();
}
template <int Pending>
void copy_async_wait() {
  simt::await_copies(Pending);
}

inline void load_matrix_x4(std::uint32_t (&r)[4], const void* shared_row, simt::Place where = {}) {
  simt::load_rows(r, shared_row, where);
}
inline void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* shared_row, simt::Place where = {}) {
  simt::load_columns(r, shared_row, where);
}

inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], simt::Place where = {}) {
  simt::multiply_bf16(d, a, b, where);
}
inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], simt::Place where = {}) {
  simt::multiply_tf32(d, a, b, where);
}

inline std::uint32_t to_tf32(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const bool finite = (bits >> 23 & 0xff) != 0xff;
  return (finite ? bits + 0x1000 : bits) & ~0x1fffu;  // half a unit of what remains: a tie goes away from zero
}

namespace simt_bf16 {
inline std::uint32_t rounded(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
}  // namespace simt_bf16
inline std::uint32_t to_bf16x2(float low, float high) {
  return simt_bf16::rounded(high) << 16 | simt_bf16::rounded(low);
}

inline float opaque(float x) {
  return x;
}

inline float fast_exp2(float x) {
  const float y = exp2f(x);
  return y < 0x1p-126f ? 0.0f : y;
}

}  // namespace subquad::kernels::cuda
