// Launching kernels, and what the host can ask about them.
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#include <simt/stream.h>
#include <simt/types.h>

namespace simt {

// A kernel broke a rule: which one, and which kernel, block, thread and line.
class KernelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Launch {
  const void* kernel = nullptr;
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  std::function<void()> thread;  // calls the kernel with its arguments
};

// The error that a GPU (compute capability 9.0) would answer with, or cudaSuccess.
cudaError_t check_launch(const void* kernel, const cudaLaunchConfig_t& config);

// Runs the whole grid in an order that depends on nothing but the seed. Throws KernelError.
void run_grid(const Launch& launch, std::uint64_t seed);
// With the seed SUBQUAD_SIMT_SEED (0 where it is not set), mixed with the number of launches before this one.
void run_grid(const Launch& launch);

const char* symbol(const void* function);       // its mangled name; nullptr for an address that is no function's
std::string kernel_name(const void* function);  // for people: no parameters, no anonymous namespaces

}  // namespace simt

template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args&&... args) {
  const void* const address = reinterpret_cast<const void*>(kernel);
  const cudaError_t status = simt::check_launch(address, *config);
  if (status != cudaSuccess) return status;
  simt::Launch launch{address, config->gridDim, config->blockDim, config->dynamicSmemBytes,
                      [kernel, values = std::tuple<std::remove_const_t<Params>...>(static_cast<Args&&>(args)...)] {
                        std::apply(kernel, values);
                      }};
  simt::enqueue(
      config->stream, [launch = std::move(launch)] { simt::run_grid(launch); }, simt::symbol(address));
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t cudaFuncGetName(const char** name, const void* kernel);  // mangled
