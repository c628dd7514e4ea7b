// Running small kernels, right ones and wrong ones, with a chosen schedule.
#pragma once

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <string>

#include "subquad/core/cuda/shared_bytes.cuh"

namespace simt {

struct Size {
  dim3 grid, block;
  std::size_t shared_bytes = 0;
};

template <class... Params, class... Args>
void run(std::uint64_t seed, const Size& size, void (*kernel)(Params...), Args... args) {
  run_grid({reinterpret_cast<const void*>(kernel), size.grid, size.block, size.shared_bytes, [=] { kernel(args...); }},
           seed);
}

// What the interpreter says against a kernel; "" when it has no complaint.
template <class... Params, class... Args>
std::string complaint(std::uint64_t seed, const Size& size, void (*kernel)(Params...), Args... args) {
  try {
    run(seed, size, kernel, args...);
    return "";
  } catch (const KernelError& error) {
    return error.what();
  }
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A planted fault is found whatever the schedule, and the next kernel runs as if nothing had happened.
#define CHECK_COMPLAINT(part, ...)                                        \
  for (std::uint64_t seed_ = 0; seed_ < 20; ++seed_) {                    \
    const std::string complaint_ = ::simt::complaint(seed_, __VA_ARGS__); \
    CHECK_MESSAGE(::simt::contains(complaint_, (part)), complaint_);      \
  }

template <class T>
T* shared() {
  return reinterpret_cast<T*>(subquad::cuda::shared_bytes());
}

constexpr std::uint64_t kSeeds = 40;  // schedules that a fault which only some show is given

}  // namespace simt
