// The instructions that C++ has no words for, each as one named function: asynchronous copies into shared memory,
// matrix fragments, tensor-core products, conversions. The only file with inline assembly; tests/simt/include has a
// second one that does the same on the CPU.
//
// Lane l of a warp holds (PTX ISA, "Matrix fragments for mma"), with g = l / 4 and t = l % 4:
//   m16n8k16 bf16  a[0..3]: rows g, g+8, g, g+8; columns 2t, 2t, 2t+8, 2t+8 (two neighbours per register)
//                  b[0..1]: rows 2t, 2t+8 (two neighbours per register); column g
//   m16n8k8  tf32  a[0..3]: (g, t), (g+8, t), (g, t+4), (g+8, t+4);   b[0..1]: (t, g), (t+4, g)
//   both           d[0..3]: (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1)
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace subquad::kernels::cuda {

// Starts a copy of 16 (4) bytes from global to shared memory, both aligned to them; zeros are written when not `valid`,
// and `global` is not read. Visible to the thread itself after copy_async_wait, to the block after a barrier that
// follows.
__device__ inline void copy_async_16(void* shared, const void* global, bool valid = true) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid ? 16 : 0) : "memory");
}
__device__ inline void copy_async_4(void* shared, const void* global, bool valid = true) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(valid ? 4 : 0) : "memory");
}
// Closes a group of copies of this thread.
__device__ inline void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most `Pending` of the latest groups of this thread are still under way.
template <int Pending>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// Four (two) 8x8 matrices of 16-bit elements; lane 8i + r names the shared address of row r of matrix i (16 bytes,
// aligned). Lane l receives elements (l / 4, 2 (l % 4)) and the next one of each, or, transposed, (2 (l % 4), l / 4)
// and the one below.
__device__ inline void load_matrix_x4(std::uint32_t (&r)[4], const void* shared_row) {
  const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}
__device__ inline void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* shared_row) {
  const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}

// d += a b on tensor cores, float32 sums. All 32 lanes call.
__device__ inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// A float rounded to TF32 (8 bits of exponent, 10 of mantissa, ties away from zero), as its 32 bits; the low 13 are 0.
__device__ inline std::uint32_t to_tf32(float value) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}
// Two floats rounded to bfloat16, nearest even: `low` in the lower half.
__device__ inline std::uint32_t to_bf16x2(float low, float high) {
  std::uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

// x itself, by a way that the compiler does not see through: what a loop computes from it is computed each time around
// and not once before the loop, where it would occupy registers.
__device__ inline float opaque(float x) {
  asm volatile("" : "+f"(x));
  return x;
}

// 2^x with a relative error of 2^-22; denormal results are 0.
__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace subquad::kernels::cuda
