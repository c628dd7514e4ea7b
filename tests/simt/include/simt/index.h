// Which thread of which block is running. Kernels run one thread at a time, so these are plain variables: the scheduler
// writes them whenever it goes over to another thread.
#pragma once

#include <simt/types.h>

namespace simt {

inline uint3 thread_index, block_index;
inline dim3 block_size, grid_size;
inline int lane_index;  // of the thread in its warp

}  // namespace simt

inline const uint3& threadIdx = simt::thread_index;
inline const uint3& blockIdx = simt::block_index;
inline const dim3& blockDim = simt::block_size;
inline const dim3& gridDim = simt::grid_size;
inline constexpr int warpSize = 32;
