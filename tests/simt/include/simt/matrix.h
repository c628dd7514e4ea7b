// Matrix instructions of a warp: kernels/warp/ptx.cuh tells which lane holds what.
#pragma once

#include <cstdint>

#include <simt/block.h>

namespace simt {

void load_matrix_x4(std::uint32_t (&r)[4], const void* shared_row, Place where);
void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* shared_row, Place where);
void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place where);
void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place where);

}  // namespace simt
