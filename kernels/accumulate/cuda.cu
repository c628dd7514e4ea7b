#include "subquad/kernels/accumulate/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kLanes = 16;                     // that share the parts of a column
constexpr int kThreads = kLanes * kWarp;       // of a block
constexpr Index kAlone = Index{4} * kThreads;  // elements of a block where there is one part: four per thread

template <class T>
struct Entry {
  T* to;
  const T* from;
  Index size, parts, stride;  // elements of `to`; parts and their distance
  Index columns, pitch;       // of a row of `from`; distance of rows

  __device__ Index place(Index at) const { return columns == size ? at : at / columns * pitch + at % columns; }
};

// Arguments of a kernel have 4 KiB; those of this one take 3.8.
template <class T>
struct List {
  static constexpr int kMost = 64;
  Entry<T> entry[kMost];
  unsigned first_block[kMost + 1];
  int count = 0;
};

template <class T>
unsigned blocks_of(const Entry<T>& entry) {
  return blocks_for("accumulate", entry.size, entry.parts == 1 ? kAlone : kWarp);
}

// A block finds its entry. One part: its threads take neighbouring elements. Several: 32 columns, lane l of 16 adds
// parts l, l + 16, ... of a column, and the lanes' sums meet in shared memory and are added in order.
template <class T>
__global__ void __launch_bounds__(kThreads) add_entries(List<T> list) {
  SharedMemory shared;
  T* const meeting = shared.take<T>(kThreads);
  int i = 0;
  while (list.first_block[i + 1] <= blockIdx.x) ++i;
  const Entry<T> entry = list.entry[i];
  const Index block = blockIdx.x - list.first_block[i];
  const int thread = static_cast<int>(threadIdx.x);
  if (entry.parts == 1) {
    const Index begin = block * kAlone, end = begin + kAlone < entry.size ? begin + kAlone : entry.size;
#pragma unroll 4
    for (Index at = begin + thread; at < end; at += kThreads) entry.to[at] += entry.from[entry.place(at)];
    return;
  }
  const int lane = thread / kWarp;
  const Index column = block * kWarp + thread % kWarp;
  T sum = 0;
  if (column < entry.size) {
    const T* const from = entry.from + entry.place(column);
#pragma unroll 8
    for (Index part = lane; part < entry.parts; part += kLanes) sum += from[part * entry.stride];
  }
  meeting[thread] = sum;
  __syncthreads();
  if (lane > 0 || column >= entry.size) return;
  for (int other = 1; other < kLanes; ++other) sum += meeting[other * kWarp + thread];
  entry.to[column] += sum;
}

}  // namespace

void accumulate(std::vector<Addition>& additions) {
  visit_float("accumulate", additions.front().to.dtype(), [&]<class T>(Type<T>) {
    List<T> list;
    const auto start = [&] {
      if (list.count == 0) return;
      launch(add_entries<T>, dim3(list.first_block[list.count]), dim3(kThreads), shared_size<T>(kThreads),
             current_stream(), list);
      list = List<T>();
    };
    for (Addition& addition : additions) {
      const Tensor& parts = addition.parts;
      const bool apart = parts.rank() == 3 && !parts.select(0, 0).is_contiguous();
      const Entry<T> entry{addition.to.data<T>(),
                           parts.data<T>(),
                           addition.to.size(),
                           parts.dim(0),
                           parts.strides()[0],
                           apart ? parts.dim(2) : addition.to.size(),
                           apart ? parts.strides()[1] : 0};
      if (list.count == 0) list.first_block[0] = 0;
      list.entry[list.count] = entry;
      list.first_block[list.count + 1] = list.first_block[list.count] + blocks_of(entry);
      if (++list.count == List<T>::kMost) start();
    }
    start();
  });
}

}  // namespace subquad::kernels::cuda
