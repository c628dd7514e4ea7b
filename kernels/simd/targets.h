// Which instruction sets the CPU kernels are compiled for, and how one is chosen. Included before any header of
// Highway:
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "subquad/kernels/chord_matmul/cpu.cpp"
//   #include "subquad/kernels/simd/targets.h"
//
//   #include <hwy/foreach_target.h>
//   #include <hwy/highway.h>
//
// Three targets, best first: AVX3 (AVX-512 as every server core since Skylake has it), AVX2 with FMA, and scalar, which
// is also the baseline the rest of the project is compiled for. So a vector has a size known at compile time, and a
// kernel is three functions, not six.
#pragma once

#include "subquad/core/runtime.h"

#ifdef HWY_DETECT_TARGETS_H_
#error "include subquad/kernels/simd/targets.h before any header of Highway"
#endif
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#define HWY_BROKEN_EMU128 1  // the baseline is the plain scalar target with every compiler

// The exported function for the SIMD target in use; once per kernel call, never inside a loop. Unlike
// HWY_DYNAMIC_DISPATCH alone it honours SUBQUAD_SIMD from the first call on.
#define SUBQUAD_DISPATCH(Function) (::subquad::choose_simd_target(), HWY_DYNAMIC_DISPATCH(Function))
