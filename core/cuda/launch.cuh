// How every CUDA kernel of the project is started and how it takes its shared memory. No <<<>>> and no bare __shared__
// anywhere else: these two rules let the same kernels run on the CPU in the tests (tests/simt).
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <type_traits>

#include "subquad/core/cuda/error.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/cuda/shared_bytes.cuh"
#include "subquad/core/shape.h"

namespace subquad::cuda {

// Starts kernel(args...) in `stream` and returns at once. Arguments travel by value and must be trivially copyable.
// `shared_bytes` of dynamic shared memory per block, more than 48 KiB included. DeviceError naming the kernel, the grid
// and the current op when the launch is refused. An empty grid is refused: callers return early where there is no work.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
            const Args&... args) {
  static_assert((std::is_trivially_copyable_v<std::remove_cvref_t<Params>> && ...), "kernel arguments travel by value");
  constexpr std::size_t kAlwaysAllowed = std::size_t{48} << 10;
  const void* address = reinterpret_cast<const void*>(kernel);
  if (shared_bytes >
      kAlwaysAllowed) {  // all that the device has: what other launches of the kernel ask for stays allowed
    const std::size_t most = std::max(shared_bytes, properties(current_device()).shared_bytes_per_block);
    check_launch(cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)),
                 address, grid, block, shared_bytes);
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check_launch(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), address, grid, block, shared_bytes);
}

// Blocks of `per_block` items that cover `items`; an Error naming `op` when a grid cannot be that large.
unsigned blocks_for(const char* op, Index items, Index per_block);

// The dynamic shared memory of a block, handed out front to back in pieces aligned to 16 bytes. Every thread takes the
// same pieces in the same order; the launcher adds up their sizes with shared_size.
class SharedMemory {
 public:
  template <class T>
  __device__ T* take(int count) {
    T* const piece = reinterpret_cast<T*>(shared_bytes() + used_);
    used_ += padded(count * sizeof(T));
    return piece;
  }

  static constexpr std::size_t padded(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

 private:
  std::size_t used_ = 0;
};

// What take<T>(count) uses up.
template <class T>
constexpr std::size_t shared_size(std::size_t count) {
  return SharedMemory::padded(count * sizeof(T));
}

}  // namespace subquad::cuda

namespace subquad::kernels::cuda {
using namespace subquad::cuda;  // kernels speak of launch and current_stream without a prefix
}
