#include "subquad/kernels/top_k/cuda.h"

#include <algorithm>
#include <array>
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

// What is to be chosen of rows. Where rows are few and long, each is cut into `parts` of `part_width` elements, whose
// own best come first: candidates [rows, parts, k], rising places, then -1. They hold the k best of the row, of equal
// ones the first, and stand in the order of the row.
template <class T>
struct RowChoice {
  const T* keys;
  Index k, window;
  Index* chosen;  // of choose_top_k
  Index* candidates;
  int parts, part_width;  // parts == 0: rows are not cut

  __device__ const Index* candidates_of(Index row) const { return candidates + row * parts * k; }
  __device__ int candidate_count() const { return parts * static_cast<int>(k); }
};

// A row of n numbers: positions in front of `begin` and from `end` on are forced, and `wanted` of those between are
// selected, so that `taken` are chosen.
struct RowRange {
  int begin, end, taken, wanted;

  __device__ RowRange(Index k, Index window, int n) {
    begin = window + 1 < n ? static_cast<int>(window + 1) : n;
    const int forced_behind = window > 0 ? static_cast<int>(window < n ? window : n) : 0;
    end = n - forced_behind > begin ? n - forced_behind : begin;
    taken = static_cast<int>(k < n ? k : n);
    wanted = taken - begin - (n - end);
  }
};

// A block has a part of a row: reads it like those of top_k, and leaves its candidates.
template <class T, int N>
__device__ void select_candidates(const RowChoice<T>& choice, int heads, int width, bool keep, const Lengths& lengths) {
  SharedMemory shared;
  const SelectStage stage(shared);
  auto* const kept = keep ? shared.take<OrderedKey<T>>((choice.part_width + N - 1) / N * N) : nullptr;
  const Index row = blockIdx.x / choice.parts;
  const int part = static_cast<int>(blockIdx.x % choice.parts), first = part * choice.part_width;
  const int n = static_cast<int>(lengths[row / heads]);
  const RowRange range(choice.k, choice.window, n);
  const int end = range.end - first < choice.part_width ? range.end - first : choice.part_width;
  const int begin = range.begin > first ? range.begin - first : 0;
  const int there = end > begin ? end - begin : 0, wanted = range.wanted < there ? range.wanted : there;
  Index* const out = choice.candidates + Index{blockIdx.x} * choice.k;
  const auto keys = KeyRow<T>::template of<N>(choice.keys + row * width + first, there > 0 ? end : 0, kept);
  __syncthreads();
  if (wanted > 0) {  // the whole block
    const auto selection = select_kth(keys, begin, end, wanted, stage);
    for_selected(keys, begin, end, selection, stage, [&](int rank, int i) { out[rank] = first + i; });
  }
  for (Index s = (wanted > 0 ? wanted : 0) + static_cast<int>(threadIdx.x); s < choice.k; s += blockDim.x) out[s] = -1;
}

// A block per part of a row; those of a second choice have blockIdx.y = 1.
template <class T, int N>
__global__ void __launch_bounds__(kMostThreads, 1)
    top_k_candidates(RowChoice<T> first, RowChoice<T> second, int heads, int width, bool keep, Lengths lengths) {
  if (blockIdx.y == 0)
    select_candidates<T, N>(first, heads, width, keep, lengths);
  else
    select_candidates<T, N>(second, heads, width, keep, lengths);
}

// A block per row: reads it once (once per digit and twice more where its keys do not fit into shared memory), N
// elements per thread and load, selects the k largest (cuda_select.cuh) and sorts them in shared memory, or in `spare`
// [rows, sorted] where there are too many. `sorted` is k rounded up to a power of two. Of a row that is cut it reads
// the candidates.
template <class T, int N>
__global__ void __launch_bounds__(kMostThreads, 1)
    top_k_rows(RowChoice<T> choice, int width, int sorted, bool keep, Entry<T>* spare, T* values, Index* indices) {
  SharedMemory shared;
  const SelectStage stage(shared);
  const bool cut = choice.parts > 0;
  const int k = static_cast<int>(choice.k), count = cut ? choice.candidate_count() : width;
  auto* const kept = keep ? shared.take<OrderedKey<T>>((count + N - 1) / N * N) : nullptr;
  const Index row = blockIdx.x;
  const Index* const places = cut ? choice.candidates_of(row) : nullptr;
  Entry<T>* const entries = spare != nullptr ? spare + row * sorted : shared.take<Entry<T>>(sorted);
  const T* const from = choice.keys + row * width;
  const auto keys = cut ? KeyRow<T>::at(from, places, count, kept) : KeyRow<T>::template of<N>(from, width, kept);
  __syncthreads();
  const auto selection = select_kth(keys, 0, count, k, stage);
  for (int s = k + static_cast<int>(threadIdx.x); s < sorted; s += static_cast<int>(blockDim.x)) entries[s] = {0, 0};
  for_selected(keys, 0, count, selection, stage, [&](int rank, int i) {
    entries[rank] = {keys[i], cut ? static_cast<int>(places[i]) : i};
  });
  __syncthreads();
  sort_entries(entries, sorted);
  for (int s = static_cast<int>(threadIdx.x); s < k; s += static_cast<int>(blockDim.x)) {
    values[row * k + s] = from[entries[s].index];
    indices[row * k + s] = entries[s].index;
  }
}

// A block has a row (b, h), which is read like those of top_k, and writes what is forced and what it selects in
// ascending order.
template <class T, int N>
__device__ void choose_row(const RowChoice<T>& choice, int heads, int width, bool keep, const Lengths& lengths) {
  SharedMemory shared;
  const SelectStage stage(shared);
  const bool cut = choice.parts > 0;
  const int count = cut ? choice.candidate_count() : width;
  auto* const kept = keep ? shared.take<OrderedKey<T>>((count + N - 1) / N * N) : nullptr;
  const Index row = blockIdx.x;
  const int n = static_cast<int>(lengths[row / heads]), thread = static_cast<int>(threadIdx.x);
  const RowRange range(choice.k, choice.window, n);
  Index* const out = choice.chosen + row * choice.k;
  const Index* const places = cut ? choice.candidates_of(row) : nullptr;
  const T* const from = choice.keys + row * width;
  const auto keys = cut ? KeyRow<T>::at(from, places, count, kept) : KeyRow<T>::template of<N>(from, n, kept);
  __syncthreads();
  if (range.wanted > 0) {  // the whole block
    const int begin = cut ? 0 : range.begin, end = cut ? count : range.end;
    const auto selection = select_kth(keys, begin, end, range.wanted, stage);
    for_selected(keys, begin, end, selection, stage,
                 [&](int rank, int i) { out[range.begin + rank] = cut ? places[i] : i; });
  }
  for (int i = thread; i < range.begin; i += static_cast<int>(blockDim.x)) out[i] = i;
  for (int i = range.end + thread; i < n; i += static_cast<int>(blockDim.x)) out[range.taken - (n - i)] = i;
  for (Index s = range.taken + thread; s < choice.k; s += blockDim.x) out[s] = -1;
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

// Sizes of a block that selects from `width` keys, and whether it keeps them.
struct RowPlan {
  int threads;
  bool keep;
  std::size_t bytes;
};

template <class T, int N>
RowPlan plan_keys(Index width, bool keep) {
  std::size_t bytes = SelectStage::bytes();
  if (keep) bytes += shared_size<OrderedKey<T>>(static_cast<std::size_t>((width + N - 1) / N * N));
  return {threads_for(width), keep, bytes};
}
template <class T, int N>
RowPlan plan_keys(Index width) {
  return plan_keys<T, N>(width, width * static_cast<Index>(sizeof(T)) <= kMostKeptBytes);
}

// The choice of `k`, where `most_k` is the larger one of the two that are made in one launch. How rows are cut: into
// parts of 8192 elements or more, where that many rows leave most of a large device without work
// and where the candidates are few enough to be kept. A function of the shape alone.
template <class T>
RowChoice<T> row_choice(const char* op, const Tensor& keys, Index k, Index window, Index rows, Tensor& candidates,
                        Index most_k) {
  constexpr Index kFewRows = 64, kShortest = 8192;
  const Index width = keys.dim(-1);
  if (width > std::numeric_limits<int>::max())
    throw Error(cat(op, ": a row has ", width, " elements, expected at most ", std::numeric_limits<int>::max()));
  RowChoice<T> choice{keys.data<T>(), k, window, nullptr, nullptr, 0, 0};
  const auto parts = [&](Index length) { return (width + length - 1) / length; };
  Index length = kShortest;
  const Index most = kMostKeptBytes / static_cast<Index>(sizeof(OrderedKey<T>));
  while (length < width && most_k > most / parts(length)) length *= 2;
  if (rows > kFewRows || most_k == 0 || 2 * length > width || 8 * most_k > length) return choice;
  candidates = empty({rows, parts(length), k}, kInt64, keys.device(), op);
  choice.candidates = candidates.data<Index>();
  choice.parts = static_cast<int>(parts(length));
  choice.part_width = static_cast<int>(length);
  return choice;
}

// Calls f with the elements that rows are read in: 16 bytes where float32 ones start on them, or one.
template <class T, class F>
void with_row_pack(bool aligned, const F& f) {
  if constexpr (std::is_same_v<T, float>)
    if (aligned) return f(std::integral_constant<int, 4>());
  f(std::integral_constant<int, 1>());
}

template <class T, int N>
void start_candidates(const char* op, const RowChoice<T>& first, const RowChoice<T>& second, unsigned choices,
                      Index rows, Index heads, Index width, const Lengths& lengths) {
  const RowPlan plan = plan_keys<T, N>(first.part_width);
  launch(top_k_candidates<T, N>, dim3(blocks_for(op, rows * first.parts, 1), choices),
         dim3(static_cast<unsigned>(plan.threads)), plan.bytes, current_stream(), first, second,
         static_cast<int>(heads), static_cast<int>(width), plan.keep, lengths);
}

}  // namespace

void top_k(const Tensor& x, TopK& out) {
  const Index k = out.indices.dim(-1);
  if (out.indices.size() == 0) return;
  const Index width = x.dim(-1), rows = x.size() / width;
  visit_float("top_k", x.dtype(), [&]<class T>(Type<T>) {
    with_row_pack<T>(can_pack<4>(x.data<T>(), width), [&]<int N>(std::integral_constant<int, N>) {
      Tensor candidates, spare;
      const RowChoice<T> choice = row_choice<T>("top_k", x, k, -1, rows, candidates, k);
      if (choice.parts > 0) start_candidates<T, N>("top_k", choice, choice, 1, rows, 1, width, Lengths({}, width));
      RowPlan plan = choice.parts > 0 ? plan_keys<T, N>(choice.parts * k, true) : plan_keys<T, N>(width);
      Index sorted = 1;
      while (sorted < k) sorted *= 2;
      if (sorted > kMostSortedInShared)
        spare = empty({rows * sorted * static_cast<Index>(sizeof(Entry<T>) / sizeof(Index))}, kInt64, x.device());
      else
        plan.bytes += shared_size<Entry<T>>(static_cast<std::size_t>(sorted));
      launch(top_k_rows<T, N>, dim3(blocks_for("top_k", rows, 1)), dim3(static_cast<unsigned>(plan.threads)),
             plan.bytes, current_stream(), choice, static_cast<int>(width), static_cast<int>(sorted), plan.keep,
             spare.defined() ? reinterpret_cast<Entry<T>*>(spare.data<Index>()) : nullptr, out.values.data<T>(),
             out.indices.data<Index>());
    });
  });
}

void choose_top_k(std::span<const TopKChoice> choices, const Mask& mask, std::span<Tensor> chosen) {
  constexpr const char* kOp = "choose_top_k";
  const Tensor& keys = choices[0].keys;
  const Index heads = keys.dim(1), width = keys.dim(2), rows = keys.dim(0) * heads;
  if (rows == 0) return;
  visit_float(kOp, keys.dtype(), [&]<class T>(Type<T>) {
    const unsigned count = static_cast<unsigned>(choices.size());
    std::array<Tensor, 2> candidates;
    const Index most = std::max(choices[0].k, choices.back().k);
    const auto choice = [&](std::size_t c) {
      RowChoice<T> row =
          row_choice<T>(kOp, choices[c].keys, choices[c].k, choices[c].window, rows, candidates[c], most);
      row.chosen = chosen[c].data<Index>();
      return row;
    };
    const RowChoice<T> first = choice(0), second = choice(count - 1);
    const Lengths lengths(mask, width);
    const Tensor& last = choices.back().keys;
    with_row_pack<T>(can_pack<4>(keys.data<T>(), width) && can_pack<4>(last.data<T>(), width),
                     [&]<int N>(std::integral_constant<int, N>) {
                       if (first.parts > 0)
                         start_candidates<T, N>(kOp, first, second, count, rows, heads, width, lengths);
                       const RowPlan plan =
                           first.parts > 0 ? plan_keys<T, N>(first.parts * most, true) : plan_keys<T, N>(width);
                       launch(choose_top_k_rows<T, N>, dim3(blocks_for(kOp, rows, 1), count),
                              dim3(static_cast<unsigned>(plan.threads)), plan.bytes, current_stream(), first, second,
                              static_cast<int>(heads), static_cast<int>(width), plan.keep, lengths);
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
