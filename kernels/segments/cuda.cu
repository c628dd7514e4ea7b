#include "subquad/kernels/segments/cuda.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/lengths.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

struct EvenRule {
  static __device__ Index start(Index count, Index segments, Index j) { return even_start(count, segments, j); }
};
struct FromEndRule {
  static __device__ Index start(Index count, Index segments, Index j) { return start_from_end(count, segments, j); }
};

// A thread per entry of the table.
template <class Rule>
__global__ void segment_starts(Index positions, View<Index, 2> starts) {
  const Index at = Index{blockIdx.x} * kThreads + threadIdx.x, entries = starts.dim(1);
  if (at < starts.dim(0) * entries)
    starts(at / entries, at % entries) = Rule::start(positions, entries - 1, at % entries);
}

template <class Rule>
void make_starts(const char* op, Index positions, Tensor& starts) {
  if (starts.size() == 0) return;
  launch(segment_starts<Rule>, dim3(blocks_for(op, starts.size(), kThreads)), dim3(kThreads), 0, current_stream(),
         positions, starts.view<Index, 2>());
}

struct RealCut {
  View<Index, 2> starts;
  View<bool, 2> filled;
  Index* filled_counts;
  bool* covered;

  explicit RealCut(RealSegments& cut)
      : starts(cut.starts.view<Index, 2>()),
        filled(cut.filled.real.view<bool, 2>()),
        filled_counts(cut.filled.lengths.data<Index>()),
        covered(cut.covered.data<bool>()) {}

  // What entry j of sample b says besides its start, if the sample has `count` tokens.
  __device__ void describe(Index b, Index j, Index count) const {
    const Index segments = filled.dim(1);
    if (j < segments) filled(b, j) = j < count;
    if (j > 0) return;
    filled_counts[b] = count < segments ? count : segments;
    covered[b] = count <= segments;
  }
};

// A thread per entry, for a prefix mask, whose real token number r stands at position r.
__global__ void segment_starts_of_lengths(Lengths lengths, RealCut cut) {
  const Index at = Index{blockIdx.x} * kThreads + threadIdx.x, entries = cut.starts.dim(1);
  if (at >= cut.starts.dim(0) * entries) return;
  const Index b = at / entries, j = at % entries, count = lengths[b];
  const Index first = even_start(count, entries - 1, j);
  cut.starts(b, j) = j == 0 ? 0 : first < count ? first : lengths.positions;
  cut.describe(b, j, count);
}

// The sum of `value` over the threads before this one; `total` becomes the sum over all of the block. `scratch` is
// shared memory for kWarps values.
__device__ int sum_before(int value, int* scratch, int& total) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int sum = value;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int before = __shfl_up_sync(kWholeWarp, sum, static_cast<unsigned>(offset));
    if (lane >= offset) sum += before;
  }
  if (lane == kWarp - 1) scratch[warp] = sum;
  __syncthreads();
  int before_warp = 0;
  total = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) before_warp += scratch[w];
    total += scratch[w];
  }
  return before_warp + sum - value;
}

// A block per sample, a stretch of neighbouring positions per thread: it counts its real tokens, learns how many stand
// before them, and writes the starts of the segments that begin in its stretch. The mask is read twice, the second time
// from cache.
__global__ void segment_starts_of_real(View<const bool, 2> real, RealCut cut) {
  SharedMemory shared;
  int* const scratch = shared.take<int>(kWarps);
  const Index b = blockIdx.x, positions = real.dim(1), segments = cut.filled.dim(1);
  const Index stretch = (positions + kThreads - 1) / kThreads, first = Index{threadIdx.x} * stretch;
  const Index end = first + stretch < positions ? first + stretch : positions;
  int tokens = 0, count = 0;
  for (Index i = first; i < end; ++i) tokens += real(b, i) ? 1 : 0;
  Index token = sum_before(tokens, scratch, count);
  for (Index i = first; i < end; ++i) {
    if (!real(b, i)) continue;
    const Index j = even_segment_of(count, segments, token);
    if (j > 0 && token == even_start(count, segments, j)) cut.starts(b, j) = i;
    ++token;
  }
  for (Index j = threadIdx.x; j <= segments; j += kThreads) {
    if (j == 0 || even_start(count, segments, j) >= count) cut.starts(b, j) = j == 0 ? 0 : positions;  // no first token
    cut.describe(b, j, count);
  }
}

// A block per sample, a warp per segment, lanes along its positions until one is real. `real` is null where
// the first ends[b] positions are.
__global__ void filled_segment_warps(View<const Index, 2> starts, const bool* real, Lengths ends, View<bool, 2> filled,
                                     Index* filled_counts) {
  SharedMemory shared;
  int* const scratch = shared.take<int>(kWarp);
  const Index b = blockIdx.x, segments = filled.dim(1), real_end = ends[b];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int count = 0;
  for (Index j = threadIdx.x / kWarp; j < segments; j += kWarps) {
    const Index begin = starts(b, j) > 0 ? starts(b, j) : 0;
    const Index end = starts(b, j + 1) < real_end ? starts(b, j + 1) : real_end;
    bool any = real == nullptr && begin < end;
    if (real != nullptr)
      for (Index i = begin; i < end && !any; i += kWarp)
        any = __any_sync(kWholeWarp, i + lane < end && real[b * ends.positions + i + lane]);
    if (lane == 0) {
      filled(b, j) = any;
      count += any ? 1 : 0;
    }
  }
  const int total = block_sum(count, scratch);
  if (threadIdx.x == 0) filled_counts[b] = total;
}

}  // namespace

void even_segments(Index positions, Tensor& starts) {
  make_starts<EvenRule>("even_segments", positions, starts);
}

void segments_from_end(Index positions, Tensor& starts) {
  make_starts<FromEndRule>("segments_from_end", positions, starts);
}

void even_segments_of_real(const Mask& mask, RealSegments& cut) {
  constexpr const char* kOp = "even_segments_of_real";
  const Tensor& starts = cut.starts;
  if (starts.size() == 0) return;
  if (mask.prefix)
    launch(segment_starts_of_lengths, dim3(blocks_for(kOp, starts.size(), kThreads)), dim3(kThreads), 0,
           current_stream(), Lengths(mask, mask.real.dim(1)), RealCut(cut));
  else
    launch(segment_starts_of_real, dim3(blocks_for(kOp, starts.dim(0), 1)), dim3(kThreads), shared_size<int>(kWarps),
           current_stream(), mask.real.view<const bool, 2>(), RealCut(cut));
}

void filled_segments(const Tensor& starts, const Mask& mask, Index positions, Mask& filled) {
  if (filled.lengths.size() == 0) return;
  const bool scattered = mask.defined() && !mask.prefix;
  launch(filled_segment_warps, dim3(blocks_for("filled_segments", starts.dim(0), 1)), dim3(kThreads),
         shared_size<int>(kWarp), current_stream(), starts.view<const Index, 2>(),
         scattered ? mask.real.data<bool>() : nullptr, Lengths(scattered ? Mask() : mask, positions),
         filled.real.view<bool, 2>(), filled.lengths.data<Index>());
}

}  // namespace subquad::kernels::cuda
