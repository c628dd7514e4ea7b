// The device that this run of a test program tests: its cases are the same for all (--device cpu, the default, or
// cuda). Cases that only make sense on the CPU (SIMD targets, thread counts) stand in TEST_SUITE("cpu"), those that
// compare a CUDA device with the CPU in TEST_SUITE("cuda"); each is left out on the other.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::test {

Device device();
void set_device(Device device);  // by main

// CUDA kernels run on the CPU, thread by thread (tests/simt): cases choose smaller sizes.
bool interpreted();

inline Tensor here(const Tensor& t) {  // a copy on device(), or t itself where it is there already
  return t.defined() ? t.to(device()) : t;
}

}  // namespace subquad::test
