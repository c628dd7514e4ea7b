#include "subquad/kernels/top_k/cuda.h"

#include <limits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/top_k/cuda_select.cuh"
#include "subquad/kernels/warp/lengths.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr Index kMostKeptBytes = Index{48} << 10;  // of a row whose keys stay in shared memory
constexpr Index kMostSortedInShared = 2048;        // entries
constexpr int kMostThreads = 1024;                 // of a block

// Threads of a block that works on a row: as many as have something to do, in whole warps, a divisor of the digits.
int threads_for(Index width) {
  return width <= 4096 ? 256 : kMostThreads;
}

template <class T>
struct Entry {
  OrderedKey<T> key;
  int index;

  // Does this one come first among the largest?
  __device__ bool before(const Entry& other) const {
    return key > other.key || (key == other.key && index < other.index);
  }
};

// Sorts entries [0, size), size a power of two, the largest first: a bitonic network by all threads of the block, which
// have to pass a barrier before.
template <class T>
__device__ void sort_entries(Entry<T>* entries, int size) {
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      for (int pair = static_cast<int>(threadIdx.x); pair < size / 2; pair += static_cast<int>(blockDim.x)) {
        const int a = pair / step * 2 * step + pair % step, b = a + step;
        const bool falls = (a & run) == 0;
        const Entry<T> x = entries[a], y = entries[b];
        if (falls ? y.before(x) : x.before(y)) {
          entries[a] = y;
          entries[b] = x;
        }
      }
      __syncthreads();
    }
  }
}

// A block per row: reads it once (once per digit and twice more where its keys do not fit into shared memory), N
// elements per thread and load, selects the k largest (cuda_select.cuh) and sorts them in shared memory, or in `spare`
// [rows, sorted] where there are too many. `sorted` is k rounded up to a power of two.
template <class T, int N>
__global__ void __launch_bounds__(kMostThreads, 1)
    top_k_rows(const T* x, int width, int k, int sorted, bool keep, Entry<T>* spare, T* values, Index* indices) {
  SharedMemory shared;
  const SelectStage stage(shared);
  auto* const kept = keep ? shared.take<OrderedKey<T>>((width + N - 1) / N * N) : nullptr;
  const Index row = blockIdx.x;
  Entry<T>* const entries = spare != nullptr ? spare + row * sorted : shared.take<Entry<T>>(sorted);
  const T* const from = x + row * width;
  const auto keys = KeyRow<T>::template of<N>(from, width, kept);
  __syncthreads();
  const auto selection = select_kth(keys, 0, width, k, stage);
  for (int s = k + static_cast<int>(threadIdx.x); s < sorted; s += static_cast<int>(blockDim.x)) entries[s] = {0, 0};
  for_selected(keys, 0, width, selection, stage, [&](int rank, int i) { entries[rank] = {keys[i], i}; });
  __syncthreads();
  sort_entries(entries, sorted);
  for (int s = static_cast<int>(threadIdx.x); s < k; s += static_cast<int>(blockDim.x)) {
    values[row * k + s] = from[entries[s].index];
    indices[row * k + s] = entries[s].index;
  }
}

template <class T>
struct RowChoice {
  const T* keys;
  Index k, window;
  Index* chosen;
};

// A block has a row (b, h), which is read like those of top_k. Positions in front of `begin` and from `end` on are
// forced; what is left of k is selected from those between, and everything is written in ascending order.
template <class T, int N>
__device__ void choose_row(const RowChoice<T>& choice, int heads, int width, bool keep, const Lengths& lengths) {
  const Index k = choice.k, window = choice.window;
  SharedMemory shared;
  const SelectStage stage(shared);
  auto* const kept = keep ? shared.take<OrderedKey<T>>((width + N - 1) / N * N) : nullptr;
  const Index row = blockIdx.x;
  const int n = static_cast<int>(lengths[row / heads]), thread = static_cast<int>(threadIdx.x);
  const int begin = window + 1 < n ? static_cast<int>(window + 1) : n;
  const int forced_behind = window > 0 ? static_cast<int>(window < n ? window : n) : 0;
  const int end = n - forced_behind > begin ? n - forced_behind : begin;
  const int taken = static_cast<int>(k < n ? k : n), wanted = taken - begin - (n - end);
  Index* const out = choice.chosen + row * k;
  const auto keys = KeyRow<T>::template of<N>(choice.keys + row * width, n, kept);
  __syncthreads();
  if (wanted > 0) {  // the whole block
    const auto selection = select_kth(keys, begin, end, wanted, stage);
    for_selected(keys, begin, end, selection, stage, [&](int rank, int i) { out[begin + rank] = i; });
  }
  for (int i = thread; i < begin; i += static_cast<int>(blockDim.x)) out[i] = i;
  for (int i = end + thread; i < n; i += static_cast<int>(blockDim.x)) out[taken - (n - i)] = i;
  for (Index s = taken + thread; s < k; s += blockDim.x) out[s] = -1;
}

// A block per row; those of a second choice have blockIdx.y = 1.
template <class T, int N>
__global__ void __launch_bounds__(kMostThreads, 1)
    choose_top_k_rows(RowChoice<T> first, RowChoice<T> second, int heads, int width, bool keep, Lengths lengths) {
  if (blockIdx.y == 0)
    choose_row<T, N>(first, heads, width, keep, lengths);
  else
    choose_row<T, N>(second, heads, width, keep, lengths);
}

// A block per row: zeros, then each gradient to its place. Indices that are none of the row are left out.
template <class T>
__global__ void top_k_grad_rows(const T* dvalues, const Index* indices, Index width, Index k, T* dx) {
  const Index row = blockIdx.x;
  for (Index i = threadIdx.x; i < width; i += blockDim.x) dx[row * width + i] = 0;
  __syncthreads();
  for (Index s = threadIdx.x; s < k; s += blockDim.x) {
    const Index i = indices[row * k + s];
    if (i >= 0 && i < width) dx[row * width + i] = dvalues[row * k + s];
  }
}

// Sizes of a block, and whether it keeps the row's keys.
struct RowPlan {
  unsigned rows;
  int threads;
  bool keep;
  std::size_t bytes;
};

template <class T, int N>
RowPlan plan_rows(const char* op, Index rows, Index width) {
  if (width > std::numeric_limits<int>::max())
    throw Error(cat(op, ": a row has ", width, " elements, expected at most ", std::numeric_limits<int>::max()));
  const bool keep = width * static_cast<Index>(sizeof(T)) <= kMostKeptBytes;
  std::size_t bytes = SelectStage::bytes();
  if (keep) bytes += shared_size<OrderedKey<T>>(static_cast<std::size_t>((width + N - 1) / N * N));
  return {blocks_for(op, rows, 1), threads_for(width), keep, bytes};
}

// Calls f with the elements that rows are read in: 16 bytes where float32 ones start on them, or one.
template <class T, class F>
void with_row_pack(bool aligned, const F& f) {
  if constexpr (std::is_same_v<T, float>)
    if (aligned) return f(std::integral_constant<int, 4>());
  f(std::integral_constant<int, 1>());
}

}  // namespace

void top_k(const Tensor& x, TopK& out) {
  const Index k = out.indices.dim(-1);
  if (out.indices.size() == 0) return;
  const Index width = x.dim(-1), rows = x.size() / width;
  visit_float("top_k", x.dtype(), [&]<class T>(Type<T>) {
    with_row_pack<T>(can_pack<4>(x.data<T>(), width), [&]<int N>(std::integral_constant<int, N>) {
      RowPlan plan = plan_rows<T, N>("top_k", rows, width);
      Index sorted = 1;
      while (sorted < k) sorted *= 2;
      Tensor spare;
      if (sorted > kMostSortedInShared)
        spare = empty({rows * sorted * static_cast<Index>(sizeof(Entry<T>) / sizeof(Index))}, kInt64, x.device());
      else
        plan.bytes += shared_size<Entry<T>>(static_cast<std::size_t>(sorted));
      launch(top_k_rows<T, N>, dim3(plan.rows), dim3(static_cast<unsigned>(plan.threads)), plan.bytes, current_stream(),
             x.data<T>(), static_cast<int>(width), static_cast<int>(k), static_cast<int>(sorted), plan.keep,
             spare.defined() ? reinterpret_cast<Entry<T>*>(spare.data<Index>()) : nullptr, out.values.data<T>(),
             out.indices.data<Index>());
    });
  });
}

void choose_top_k(std::span<const TopKChoice> choices, const Mask& mask, std::span<Tensor> chosen) {
  const Tensor& keys = choices[0].keys;
  const Index heads = keys.dim(1), width = keys.dim(2);
  if (keys.dim(0) * heads == 0) return;
  visit_float("choose_top_k", keys.dtype(), [&]<class T>(Type<T>) {
    const auto row_choice = [&](std::size_t c) {
      return RowChoice<T>{choices[c].keys.data<T>(), choices[c].k, choices[c].window, chosen[c].data<Index>()};
    };
    const Tensor& last = choices.back().keys;
    with_row_pack<T>(can_pack<4>(keys.data<T>(), width) && can_pack<4>(last.data<T>(), width),
                     [&]<int N>(std::integral_constant<int, N>) {
                       const RowPlan plan = plan_rows<T, N>("choose_top_k", keys.dim(0) * heads, width);
                       const dim3 grid(plan.rows, static_cast<unsigned>(choices.size()));
                       launch(choose_top_k_rows<T, N>, grid, dim3(static_cast<unsigned>(plan.threads)), plan.bytes,
                              current_stream(), row_choice(0), row_choice(choices.size() - 1), static_cast<int>(heads),
                              static_cast<int>(width), plan.keep, Lengths(mask, width));
                     });
  });
}

void top_k_grad(const Tensor& dvalues, const Tensor& indices, Tensor& dx) {
  if (dx.size() == 0) return;
  const Index width = dx.dim(-1), rows = dx.size() / width;
  visit_float("top_k_grad", dx.dtype(), [&]<class T>(Type<T>) {
    launch(top_k_grad_rows<T>, dim3(blocks_for("top_k_grad", rows, 1)), dim3(256), 0, current_stream(),
           dvalues.data<T>(), indices.data<Index>(), width, indices.dim(-1), dx.data<T>());
  });
}

}  // namespace subquad::kernels::cuda
