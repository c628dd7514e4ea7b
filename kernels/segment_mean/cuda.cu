#include "subquad/kernels/segment_mean/cuda.h"

#include <algorithm>
#include <type_traits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/warp/lengths.cuh"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kRowLanes = 32;                     // tokens of a segment that are summed side by side
constexpr int kPackLanes = kThreads / kRowLanes;  // packs of features: 128 bytes of a row where packs are 16 bytes
constexpr int kRowsPerWarp = kRowLanes / kWarps;  // row lanes of a warp
constexpr int kPositionsPerBlock = 64;            // of a segment of mean length, in the gradient

// Where segments lie and which positions count. `real` is null where the first ends[b] positions do, `starts` where
// those are cut evenly.
struct Cut {
  const Index* starts;  // [B, S + 1]
  Index segments;
  const bool* real;  // [B, N]
  Lengths ends;
  bool by_length;

  Cut(const Tensor& table, const Mask& mask, Index positions, MeanDivisor divisor)
      : starts(table.data<Index>()),
        segments(table.dim(1) - 1),
        real(mask.defined() && !mask.prefix ? mask.real.data<bool>() : nullptr),
        ends(real != nullptr ? Mask() : mask, positions),
        by_length(divisor == MeanDivisor::length) {}

  Cut(const Mask& prefix_mask, Index positions, Index count)
      : starts(nullptr), segments(count), real(nullptr), ends(prefix_mask, positions), by_length(false) {}

  __device__ bool is_real(Index b, Index i) const {
    return i < ends[b] && (real == nullptr || real[b * ends.positions + i]);
  }
  // The segments of any table cover every position, and no other.
  __device__ Index begin(Index b, Index j) const { return j == 0 ? 0 : start(b, j); }
  __device__ Index end(Index b, Index j) const { return j == segments - 1 ? ends.positions : start(b, j + 1); }

 private:
  __device__ Index start(Index b, Index j) const {
    const Index count = ends[b],
                given = starts == nullptr ? even_start(count, segments, j) : starts[b * (segments + 1) + j];
    if (starts == nullptr && given >= count) return ends.positions;
    return given < 0 ? 0 : given < ends.positions ? given : ends.positions;
  }
};

// The numbers of up to kThreads positions from `first` on that are real, in order, in `list` (shared memory); how many
// they are. `scratch` is shared memory for kWarps numbers. All threads of the block call.
__device__ int list_real(const Cut& cut, Index b, Index first, Index end, int* list, int* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index i = first + threadIdx.x;
  const bool real = i < end && cut.is_real(b, i);
  const unsigned bits = __ballot_sync(kWholeWarp, real);
  if (lane == 0) scratch[warp] = __popc(bits);
  __syncthreads();
  int before = __popc(bits & ((1u << lane) - 1)), total = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) before += scratch[w];
    total += scratch[w];
  }
  if (real) list[before] = static_cast<int>(threadIdx.x);
  __syncthreads();
  return total;
}

template <class T, int N>
__device__ void add(Pack<T, N>& sum, const Pack<T, N>& term) {
  for (int i = 0; i < N; ++i) sum.at[i] += term.at[i];
}

constexpr std::size_t kMost = 3;  // tensors of a launch

// What a launch works on: blockIdx.y is the number of the tensor. By name, since a kernel copies parameters that it
// indexes to the stack.
template <class Each>
struct Three {
  Each first, second, third;

  template <class F>
  __device__ void visit(const F& f) const {
    if (blockIdx.y == 0)
      f(first);
    else if (blockIdx.y == 1)
      f(second);
    else
      f(third);
  }
};

template <class T>
struct Mean {
  View<const T, 4> x;
  View<T, 4> out;
};

// The table that a launch writes (kernels/segments, RealSegments), or nothing.
struct Table {
  Index* starts = nullptr;
  bool* filled = nullptr;
  Index* filled_counts = nullptr;
  bool* covered = nullptr;

  // What segment j of sample b has in it; by one thread.
  __device__ void write(const Cut& cut, Index b, Index j) const {
    const Index count = cut.ends[b], segments = cut.segments;
    starts[b * (segments + 1) + j] = cut.begin(b, j);
    filled[b * segments + j] = j < count;
    if (j == segments - 1) starts[b * (segments + 1) + segments] = cut.ends.positions;
    if (j > 0) return;
    filled_counts[b] = count < segments ? count : segments;
    covered[b] = count <= segments;
  }
};

// Where a block keeps what its threads tell each other.
template <class T, int N>
struct MeanScratch {
  Pack<T, N>* warp_sums;
  int *list, *counts;

  __device__ explicit MeanScratch(SharedMemory& shared)
      : warp_sums(shared.take<Pack<T, N>>(kThreads / kRowsPerWarp)),
        list(shared.take<int>(kThreads)),
        counts(shared.take<int>(kWarps)) {}
  static constexpr std::size_t bytes() {
    return shared_size<Pack<T, N>>(kThreads / kRowsPerWarp) + shared_size<int>(kThreads) + shared_size<int>(kWarps);
  }
};

template <class T, int N>
__device__ void mean_of_segment(const View<const T, 4>& x, const Cut& cut, const View<T, 4>& out,
                                const MeanScratch<T, N>& scratch, const Table& table) {
  const int packs = static_cast<int>(x.dim(3)) / N, chunks = (packs + kPackLanes - 1) / kPackLanes;
  const Index heads = x.dim(1);
  if (chunks == 0 || Index{blockIdx.x} >= x.dim(0) * heads * cut.segments * chunks) return;  // a wider tensor's
  const Index task = Index{blockIdx.x} / chunks;
  const Index b = task / cut.segments / heads, h = task / cut.segments % heads, j = task % cut.segments;
  const int pack = static_cast<int>(blockIdx.x) % chunks * kPackLanes + static_cast<int>(threadIdx.x) % kPackLanes;
  const int row_lane = static_cast<int>(threadIdx.x) / kPackLanes;
  const Index begin = cut.begin(b, j), end = cut.end(b, j);
  if (table.starts != nullptr && h == 0 && blockIdx.x % chunks == 0 && blockIdx.y == 0 && threadIdx.x == 0)
    table.write(cut, b, j);

  Pack<T, N> sum{};
  Index count = 0;
  if (cut.real == nullptr) {
    const Index real_end = end < cut.ends[b] ? end : cut.ends[b];
    count = real_end > begin ? real_end - begin : 0;
    if (pack < packs)
#pragma unroll 4
      for (Index i = begin + row_lane; i < real_end; i += kRowLanes) add(sum, load_pack<N>(&x(b, h, i, pack * N)));
  } else {
    for (Index first = begin; first < end; first += kThreads) {
      const int found = list_real(cut, b, first, end, scratch.list, scratch.counts);
      if (pack < packs)
        for (int t = (row_lane + kRowLanes - static_cast<int>(count % kRowLanes)) % kRowLanes; t < found;
             t += kRowLanes)
          add(sum, load_pack<N>(&x(b, h, first + scratch.list[t], pack * N)));
      count += found;
      __syncthreads();  // the list is no longer read
    }
  }

  for (int i = 0; i < N; ++i)
    for (int offset = kPackLanes; offset < kWarp; offset *= 2)
      sum.at[i] += __shfl_xor_sync(kWholeWarp, sum.at[i], offset);
  if (row_lane % kRowsPerWarp == 0)
    scratch.warp_sums[row_lane / kRowsPerWarp * kPackLanes + threadIdx.x % kPackLanes] = sum;
  __syncthreads();
  if (row_lane > 0 || pack >= packs) return;
  for (int warp = 1; warp < kWarps; ++warp) add(sum, scratch.warp_sums[warp * kPackLanes + threadIdx.x]);
  const T divisor = static_cast<T>(cut.by_length ? end - begin : count);
  for (T& value : sum.at) value = count == 0 ? T(0) : value / divisor;
  store_pack<N>(&out(b, h, j, pack * N), sum);
}

// A block per segment of a head and kPackLanes packs of features, neighbouring threads on neighbouring packs; row lane
// r sums the real tokens number r, r + 32, ... of the segment, then the 32 sums are added, those of a warp first. x is
// read once, the mask (only if it is no prefix) by every block of a segment, from cache.
template <class T, int N>
__global__ void segment_mean_blocks(Three<Mean<T>> means, Cut cut, Table table) {
  SharedMemory shared;
  const MeanScratch<T, N> scratch(shared);
  means.visit([&](const Mean<T>& mean) { mean_of_segment<T, N>(mean.x, cut, mean.out, scratch, table); });
}

// Views that are left out have no data.
template <class T>
struct Spread {
  View<const T, 4> dout, first_use, second_use;
  View<T, 4> dx;
};

template <class T, int N>
__device__ void spread_segment(const Spread<T>& of, const Cut& cut, int parts, int* scratch) {
  const View<T, 4>& dx = of.dx;
  const Index segment = Index{blockIdx.x} / parts, b = segment / cut.segments, j = segment % cut.segments;
  const Index part = Index{blockIdx.x} % parts, begin = cut.begin(b, j), length = cut.end(b, j) - begin;
  if (length <= 0) return;
  Index count = length;
  if (!cut.by_length) {
    int mine = 0;
    if (cut.real != nullptr) {
      for (Index i = threadIdx.x; i < length; i += kThreads) mine += cut.is_real(b, begin + i) ? 1 : 0;
      count = block_sum(mine, scratch);
    } else if (cut.ends[b] < begin + length) {
      count = cut.ends[b] - begin;
    }
  }
  const T divisor = static_cast<T>(count);  // where it is 0 no position is real
  const Index first = begin + length * part / parts, stop = begin + length * (part + 1) / parts;
  const int head_packs = static_cast<int>(dx.dim(3)) / N, row_packs = static_cast<int>(dx.dim(1)) * head_packs;
  if (row_packs == 0) return;
  for (Index i = first + threadIdx.x / row_packs, c = threadIdx.x % row_packs; i < stop;) {
    const Index h = c / head_packs, column = c % head_packs * N;
    Pack<T, N> sum{};
    if (of.first_use.data() != nullptr) sum = load_pack<N>(&of.first_use(b, h, i, column));
    if (of.dout.data() != nullptr && cut.is_real(b, i)) {
      const auto share = load_pack<N>(&of.dout(b, h, j, column));
      for (int n = 0; n < N; ++n) sum.at[n] += share.at[n] / divisor;
    }
    if (of.second_use.data() != nullptr) add(sum, load_pack<N>(&of.second_use(b, h, i, column)));
    store_pack<N>(&dx(b, h, i, column), sum);
    c += kThreads;
    i += c / row_packs;
    c %= row_packs;
  }
}

// Some blocks per segment of a sample, each with a stretch of its positions, threads along the features of all heads:
// dx, in memory [B, N, H, C], is written without gaps, dout read once and then from cache, every use once.
template <class T, int N>
__global__ void segment_mean_grad_blocks(Three<Spread<T>> spreads, Cut cut, int parts) {
  SharedMemory shared;
  int* const scratch = shared.take<int>(kWarp);
  spreads.visit([&](const Spread<T>& of) { spread_segment<T, N>(of, cut, parts, scratch); });
}

// Whether rows of `t` [B, H, N, C] can be moved in 16 bytes of float32; an undefined one needs not.
bool packs(const Tensor& t) {
  if (!t.defined()) return true;
  bool all = can_pack<4>(t.data<float>(), t.dim(3));
  for (int d = 0; d < 3; ++d) all = all && t.strides()[d] % 4 == 0;
  return all;
}

// Calls f(Type<T>, integral_constant N).
template <class F>
void with_packs(const char* op, const std::vector<Tensor>& tensors, const F& f) {
  visit_float(op, tensors.back().dtype(), [&]<class T>(Type<T> element) {
    if constexpr (std::is_same_v<T, float>)
      if (std::all_of(tensors.begin(), tensors.end(), packs)) return f(element, std::integral_constant<int, 4>());
    f(element, std::integral_constant<int, 1>());
  });
}

template <class T>
View<T, 4> view_of(Tensor t) {
  if (!t.defined()) return View<T, 4>(nullptr, {0, 0, 0, 0}, {0, 0, 0, 0});
  return t.view<T, 4>();
}

// f(first, count) for at most kMost tensors at a time.
template <class F>
void in_launches(std::size_t all, const F& f) {
  for (std::size_t first = 0; first < all; first += kMost) f(first, std::min(kMost, all - first));
}

void average(const std::vector<Tensor>& xs, const Cut& cut, const Table& table, std::vector<Tensor>& outs) {
  constexpr const char* kOp = "segment_mean";
  in_launches(xs.size(), [&](std::size_t first, std::size_t count) {
    std::vector<Tensor> tensors;
    Index widest = 0;
    for (std::size_t i = first; i < first + count; ++i) {
      tensors.insert(tensors.end(), {xs[i], outs[i]});
      widest = std::max(widest, xs[i].dim(3));
    }
    const Tensor& out = outs[first];
    const Index segments = out.dim(0) * out.dim(1) * out.dim(2);
    if (segments * widest == 0) return;
    with_packs(kOp, tensors, [&]<class T, int N>(Type<T>, std::integral_constant<int, N>) {
      const Index chunks = (widest / N + kPackLanes - 1) / kPackLanes;
      const auto mean = [&](std::size_t i) {
        return Mean<T>{view_of<const T>(i < count ? xs[first + i] : Tensor()),
                       view_of<T>(i < count ? outs[first + i] : Tensor())};
      };
      launch(segment_mean_blocks<T, N>, dim3(blocks_for(kOp, segments * chunks, 1), static_cast<unsigned>(count)),
             dim3(kThreads), MeanScratch<T, N>::bytes(), current_stream(), Three<Mean<T>>{mean(0), mean(1), mean(2)},
             cut, first == 0 ? table : Table());
    });
  });
}

}  // namespace

void segment_means(const std::vector<Tensor>& xs, const Tensor& starts, const Mask& mask, MeanDivisor divisor,
                   std::vector<Tensor>& outs) {
  if (!xs.empty()) average(xs, Cut(starts, mask, xs[0].dim(2), divisor), Table(), outs);
}

void segment_means_of_real(const std::vector<Tensor>& xs, const Mask& mask, RealSegmentMeans& result) {
  RealSegments& cut = result.cut;
  const Table table{cut.starts.data<Index>(), cut.filled.real.data<bool>(), cut.filled.lengths.data<Index>(),
                    cut.covered.data<bool>()};
  average(xs, Cut(mask, xs[0].dim(2), cut.starts.dim(1) - 1), table, result.means);
}

void segment_means_grad(const std::vector<MeanGrad>& grads, const Tensor& starts, const Mask& mask, MeanDivisor divisor,
                        std::vector<Tensor>& dxs) {
  constexpr const char* kOp = "segment_mean_grad";
  in_launches(grads.size(), [&](std::size_t first, std::size_t count) {
    std::vector<Tensor> tensors;
    Index elements = 0;
    for (std::size_t i = first; i < first + count; ++i) {
      tensors.push_back(grads[i].dout);
      for (const Tensor& use : grads[i].uses) tensors.push_back(use);
      tensors.push_back(dxs[i]);
      elements += dxs[i].size();
    }
    if (elements == 0) return;
    const Cut cut(starts, mask, dxs[first].dim(2), divisor);
    const Index length = dxs[first].dim(2) / cut.segments;
    const int parts = static_cast<int>(std::clamp<Index>(length / kPositionsPerBlock, 1, 64));
    with_packs(kOp, tensors, [&]<class T, int N>(Type<T>, std::integral_constant<int, N>) {
      const auto spread = [&](std::size_t i) {
        if (i >= count)
          return Spread<T>{view_of<const T>({}), view_of<const T>({}), view_of<const T>({}), view_of<T>({})};
        const MeanGrad& grad = grads[first + i];
        const auto use = [&](std::size_t u) { return u < grad.uses.size() ? grad.uses[u] : Tensor(); };
        return Spread<T>{view_of<const T>(grad.dout), view_of<const T>(use(0)), view_of<const T>(use(1)),
                         view_of<T>(dxs[first + i])};
      };
      launch(segment_mean_grad_blocks<T, N>,
             dim3(blocks_for(kOp, dxs[first].dim(0) * cut.segments * parts, 1), static_cast<unsigned>(count)),
             dim3(kThreads), shared_size<int>(kWarp), current_stream(),
             Three<Spread<T>>{spread(0), spread(1), spread(2)}, cut, parts);
    });
  });
  for (std::size_t i = 0; i < grads.size(); ++i)
    for (std::size_t u = 2; u < grads[i].uses.size(); ++u) {
      Tensor sum = dxs[i].transpose(1, 2);
      add_into(sum, grads[i].uses[u].transpose(1, 2));
    }
}

}  // namespace subquad::kernels::cuda
