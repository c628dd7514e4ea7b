// Matrix instructions of a warp: kernels/warp/ptx.cuh tells which lane holds what.
#pragma once

#include <cstdint>

#include <simt/block.h>

namespace simt {

void load_rows(std::uint32_t (&r)[4], const void* shared_row, Place where);
void load_columns(std::uint32_t (&r)[4], const void* shared_row, Place where);
void multiply_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place where);
void multiply_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place where);

}  // namespace simt
