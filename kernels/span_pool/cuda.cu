#include "subquad/kernels/span_pool/cuda.h"

#include <cmath>
#include <limits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/spans/cuda.h"
#include "subquad/kernels/spans/table.cuh"
#include "subquad/kernels/warp/reals.cuh"
#include "subquad/kernels/warp/row_group.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp;

// Spans longer than this in the table are shared by the warps of a block. What a span's sum is made of does not depend
// on how many of its positions there are in this batch.
constexpr Index kLong = 256;

__device__ bool is_long(Span span) {
  return span.begin >= 0 && span.end - span.begin > kLong;
}

// Some positions of a span: a pack of channels per lane.
template <class T, int N>
struct Pooled {
  Pack<T, N> value = {};  // the maximum, or the sum
  Pack<int, N> arg;       // position of the maximum; -1: none so far
  int count = 0;          // of real positions

  __device__ Pooled() {
    for (int& a : arg.at) a = -1;
  }

  __device__ void take(int i, const Pack<T, N>& row, SpanPool pool, const Pack<T, N>& shift) {
    ++count;
#pragma unroll
    for (int c = 0; c < N; ++c) {
      if (pool == SpanPool::max) {
        if (arg.at[c] >= 0 && !(row.at[c] > value.at[c])) continue;
        value.at[c] = row.at[c];
        arg.at[c] = i;
      } else {
        value.at[c] += pool == SpanPool::log_sum_exp ? std::exp(row.at[c] - shift.at[c]) : row.at[c];
      }
    }
  }

  // With other positions of the same span; the first of equal maxima stays.
  __device__ void join(const Pooled& other, SpanPool pool) {
    count += other.count;
#pragma unroll
    for (int c = 0; c < N; ++c) {
      if (pool == SpanPool::max) {
        const bool there = other.arg.at[c] >= 0, first = other.arg.at[c] < arg.at[c];
        const bool better = other.value.at[c] > value.at[c] || (other.value.at[c] == value.at[c] && first);
        if (!there || (arg.at[c] >= 0 && !better)) continue;
        value.at[c] = other.value.at[c];
        arg.at[c] = other.arg.at[c];
      } else {
        value.at[c] += other.value.at[c];
      }
    }
  }

  __device__ Pooled of_lane(int other) const {
    Pooled there;
    there.count = __shfl_xor_sync(kWholeWarp, count, other);
#pragma unroll
    for (int c = 0; c < N; ++c) {
      there.value.at[c] = __shfl_xor_sync(kWholeWarp, value.at[c], other);
      there.arg.at[c] = __shfl_xor_sync(kWholeWarp, arg.at[c], other);
    }
    return there;
  }
};

template <class T>
struct PoolArguments {
  View<const T, 3> x;
  SpanTable spans;
  Reals reals;
  SpanPool pool;
  T* out;      // [B, S, C]
  Index* arg;  // [B, S, C], or null
  SharedSpans shared;
  T* parts;          // [B, units, C]: of pieces, as out; of a mean the sum
  Index* part_args;  // [B, units, C], or null
  Index* counts;     // [B, units]: real positions
};

// Of one tensor or two.
constexpr int kMostTensors = 2;

template <class Arguments>
struct EachTensor {
  Arguments of[kMostTensors];
};

// A span, or a piece of one, as the warps see it that share it: one, or all of the block. Every group of 8 lanes takes
// the positions group, group + parts, ... of it, one pack of channels per lane.
template <class T, int N>
class WalkedSpan {
 public:
  __device__ WalkedSpan(const PoolArguments<T>& args, Index b, Span span, int channel, bool whole_block,
                        Pooled<T, N>* scratch)
      : args_(args),
        b_(b),
        reals_(args.reals.sample(b)),
        channel_(channel),
        begin_(static_cast<int>(span.begin)),
        end_(static_cast<int>(span.end)),
        scratch_(whole_block ? scratch : nullptr) {}

  // All lanes of the warps that share the span get the result.
  __device__ Pooled<T, N> reduce(SpanPool pool, const Pack<T, N>& shift) const {
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int group = lane / kGroupLanes + (scratch_ != nullptr ? warp * kWarpGroups : 0);
    const int parts = scratch_ != nullptr ? kWarps * kWarpGroups : kWarpGroups;
    Pooled<T, N> sum;
    if (channel_ < args_.x.dim(2)) {
#pragma unroll 4
      for (int i = begin_ + group; i < end_; i += parts)
        if (reals_[i]) sum.take(i, load_pack<N>(&args_.x(b_, i, channel_)), pool, shift);
    }
    sum.join(sum.of_lane(kGroupLanes), pool);
    sum.join(sum.of_lane(2 * kGroupLanes), pool);
    if (scratch_ == nullptr) return sum;
    if (lane < kGroupLanes) scratch_[warp * kGroupLanes + lane] = sum;
    __syncthreads();
    sum = scratch_[lane % kGroupLanes];
    for (int w = 1; w < kWarps; ++w) sum.join(scratch_[w * kGroupLanes + lane % kGroupLanes], pool);
    __syncthreads();
    return sum;
  }

 private:
  const PoolArguments<T>& args_;
  Index b_;
  SampleReals reals_;
  int channel_, begin_, end_;
  Pooled<T, N>* scratch_;
};

// What a warp or block owns: a span, or a piece of one.
struct OwnedSpan {
  Index s;
  bool whole_block;
  int unit = -1;  // number of the piece; -1: a whole span
  SharedSpans::Row row = {};
};

template <class T, int N>
__device__ void pool_span(const PoolArguments<T>& args, Index b, const OwnedSpan& own, int channel,
                          Pooled<T, N>* scratch) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const bool is_piece = own.unit >= 0;
  Span bounds = args.spans.clipped_at(b, own.s, args.reals.sample(b).end);
  if (is_piece) bounds = SharedSpans::piece_of(bounds, own.row, own.unit);
  const WalkedSpan<T, N> span(args, b, bounds, channel, own.whole_block, scratch);
  const bool is_lse = args.pool == SpanPool::log_sum_exp;
  Pooled<T, N> result = span.reduce(is_lse ? SpanPool::max : args.pool, {});
  if (is_lse) {
    const Pack<T, N> top = result.value;
    result = span.reduce(SpanPool::log_sum_exp, top);
    // an infinite maximum is the result: no inf - inf
    for (int c = 0; c < N; ++c)
      result.value.at[c] = result.count == 0       ? -kInfinity
                           : std::isinf(top.at[c]) ? top.at[c]
                                                   : top.at[c] + std::log(result.value.at[c]);
  }
  if (args.pool == SpanPool::mean && result.count > 0 && !is_piece)
    for (T& value : result.value.at) value *= 1 / static_cast<T>(result.count);
  const bool writes = threadIdx.x % kWarp < kGroupLanes && (!own.whole_block || threadIdx.x < kWarp);
  if (!writes || channel >= args.x.dim(2)) return;
  const Index row = is_piece ? b * args.shared.units() + own.unit : b * args.spans.count + own.s;
  const Index at = row * args.x.dim(2) + channel;
  store_pack<N>((is_piece ? args.parts : args.out) + at, result.value);
  if (is_piece && channel == 0) args.counts[row] = result.count;
  if (args.arg != nullptr)
    for (int c = 0; c < N; ++c) (is_piece ? args.part_args : args.arg)[at + c] = result.arg.at[c];
}

// Blocks of four spans, and those that have a piece.
__host__ __device__ Index quads_of(const SharedSpans& shared) {
  return (shared.first + kWarps - 1) / kWarps;
}

// A block has four neighbouring spans of a sample and 8 N channels of a tensor, which its y tells: a warp per span, or,
// where one is long, the whole block; or a piece of 1024 positions of a span that blocks share. x is read once per span
// that holds it (log_sum_exp: twice), 128 bytes of a row at a time; out is written once.
template <class T, int N>
__global__ void span_pool_groups(EachTensor<PoolArguments<T>> tensors) {
  const PoolArguments<T>& args = tensors.of[blockIdx.y];
  SharedMemory shared;
  auto* const scratch = shared.take<Pooled<T, N>>(kWarps * kGroupLanes);
  const Index quads = quads_of(args.shared), units = quads + args.shared.units();
  const Index chunks = (args.x.dim(2) + kGroupLanes * N - 1) / (kGroupLanes * N);
  const Index b = blockIdx.x / chunks / units, unit = blockIdx.x / chunks % units;
  const int channel = (static_cast<int>(blockIdx.x % chunks) * kGroupLanes + GroupLane().lane) * N;
  if (unit >= quads) {
    const int piece = static_cast<int>(unit - quads);
    const SharedSpans::Row row = args.shared.of_unit(piece);
    return pool_span<T, N>(args, b, {row.row, true, piece, row}, channel, scratch);
  }
  const Index first = unit * kWarps, last = args.shared.first;
  for (Index s = first; s < first + kWarps && s < last; ++s)
    if (is_long(args.spans.at(b, s))) pool_span<T, N>(args, b, {s, true}, channel, scratch);
  const Index own = first + threadIdx.x / kWarp;
  if (own < last && !is_long(args.spans.at(b, own))) pool_span<T, N>(args, b, {own, false}, channel, scratch);
}

constexpr int kJoinThreads = 64;

// A thread per channel of a shared span joins what its pieces found, in order.
template <class T>
__global__ void span_pool_join(EachTensor<PoolArguments<T>> tensors) {
  const PoolArguments<T>& args = tensors.of[blockIdx.y];
  const Index width = args.x.dim(2), thread = Index{blockIdx.x} * kJoinThreads + threadIdx.x, number = thread / width;
  const Index b = number / args.shared.rows, channel = thread % width;
  if (b >= args.x.dim(0)) return;
  const SharedSpans::Row row = args.shared.of_row(args.shared.first + number % args.shared.rows);
  const Index first = b * args.shared.units() + row.first, from = first * width + channel;
  Pooled<T, 1> all;
  T top = args.parts[from];
  for (int piece = 1; piece < row.count; ++piece) top = Max::of(args.parts[from + piece * width], top);
  const bool is_lse = args.pool == SpanPool::log_sum_exp, is_top = is_lse && std::isinf(top);
  for (int piece = 0; piece < row.count; ++piece) {
    Pooled<T, 1> part;
    part.value.at[0] = args.parts[from + piece * width];
    if (is_lse && !is_top) part.value.at[0] = std::exp(part.value.at[0] - top);
    if (args.arg != nullptr) part.arg.at[0] = static_cast<int>(args.part_args[from + piece * width]);
    part.count = static_cast<int>(args.counts[first + piece]);
    all.join(part, args.pool);
  }
  T value = all.value.at[0];
  if (is_lse) value = is_top ? top : top + std::log(value);
  if (args.pool == SpanPool::mean && all.count > 0) value *= 1 / static_cast<T>(all.count);
  const Index at = (b * args.spans.count + row.row) * width + channel;
  args.out[at] = value;
  if (args.arg != nullptr) args.arg[at] = all.arg.at[0];
}

// A warp per span: how many real positions it holds. For means under a mask that is no prefix.
__global__ void span_count_rows(SpanTable spans, Reals reals, Index batch, Index* counts) {
  const Index row = Index{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= batch * spans.count) return;
  const Index b = row / spans.count;
  const SampleReals real = reals.sample(b);
  const Span span = spans.clipped_at(b, row % spans.count, real.end);
  int count = 0;
  for (Index i = span.begin + threadIdx.x % kWarp; i < span.end; i += kWarp) count += real[static_cast<int>(i)] ? 1 : 0;
  count = warp_sum(count);
  if (threadIdx.x % kWarp == 0) counts[row] = count;
}

template <class T>
struct PoolGradArguments {
  const T *dout, *out;  // [B, S, C]
  const Index* arg;     // [B, S, C]; max alone
  const Index* counts;  // [B, S] or null: spans are not interrupted; mean alone
  View<const T, 3> x;
  SpanRuns runs;
  Reals reals;
  SpanPool pool;
  T* dx;  // [B, N, C]
  bool adds;
};

// A thread per position and pack of channels of a tensor, neighbouring threads on neighbouring packs, owns dx there and
// adds what the spans that hold it give: dout of each is read once per position of it, mostly from cache. Where it adds
// to what stands in dx, padded positions are left alone.
template <class T, int N>
__global__ void span_pool_grad_positions(EachTensor<PoolGradArguments<T>> tensors) {
  const PoolGradArguments<T>& args = tensors.of[blockIdx.y];
  SharedMemory shared;
  SpanRuns runs = args.runs;
  runs.find<kThreads>(shared);
  const Index width = args.x.dim(2), packs = width / N, count = runs.spans.count;
  const Index thread = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (thread >= args.x.dim(0) * args.x.dim(1) * packs) return;
  const Index row = thread / packs, channel = thread % packs * N, b = row / args.x.dim(1), i = row % args.x.dim(1);
  Pack<T, N> sum = {};
  const SampleReals real = args.reals.sample(b);
  if (real[static_cast<int>(i)]) {
    const Pack<T, N> x = args.pool == SpanPool::log_sum_exp ? load_pack<N>(&args.x(b, i, channel)) : Pack<T, N>{};
    for (Index r = 0; r < runs.count(b); ++r) {
      const Index s = runs.in(b, r, i);
      if (s < 0) continue;
      const Index at = (b * count + s) * width + channel;
      const Pack<T, N> up = load_pack<N>(args.dout + at);
      T factor = 1;
      if (args.pool == SpanPool::mean) {
        const Span span = runs.spans.clipped_at(b, s, real.end);
        factor = 1 / static_cast<T>(args.counts != nullptr ? args.counts[b * count + s] : span.end - span.begin);
      }
      for (int c = 0; c < N; ++c) {
        if (args.pool == SpanPool::max)
          sum.at[c] += args.arg[at + c] == i ? up.at[c] : T(0);
        else if (args.pool != SpanPool::log_sum_exp)
          sum.at[c] += up.at[c] * factor;
        else if (!std::isinf(args.out[at + c]))
          sum.at[c] += up.at[c] * std::exp(x.at[c] - args.out[at + c]);
      }
    }
  }
  T* const dx = args.dx + row * width + channel;
  if (args.adds) {
    if (!real[static_cast<int>(i)]) return;
    const Pack<T, N> before = load_pack<N>(dx);
    for (int c = 0; c < N; ++c) sum.at[c] += before.at[c];
  }
  store_pack<N>(dx, sum);
}

}  // namespace

void span_pool(std::span<const Tensor> xs, const Tensor& spans, SpanPool pool, const Mask& mask,
               std::span<SpanPooled> results) {
  const Tensor& x = xs.front();
  if (results.front().out.size() == 0) return;
  const SharedSpans shared(spans, x.dim(1));
  const Index batch = x.dim(0), width = x.dim(2), tensors = static_cast<Index>(xs.size());
  Tensor parts = empty({tensors, batch, shared.units(), width}, x.dtype(), x.device()), part_args;
  if (pool == SpanPool::max) part_args = empty(parts.shape(), kInt64, x.device());
  Tensor counts = empty({tensors, batch, shared.units()}, kInt64, x.device());
  visit_float("span_pool", x.dtype(), [&]<class T>(Type<T>) {
    const auto arguments = [&](std::size_t i) -> PoolArguments<T> {
      SpanPooled& result = results[i];
      const Index rows = static_cast<Index>(i) * batch * shared.units();
      return {xs[i].view<const T, 3>(),
              SpanTable(spans),
              Reals(mask, x.dim(1)),
              pool,
              result.out.data<T>(),
              result.arg.defined() ? result.arg.data<Index>() : nullptr,
              shared,
              parts.data<T>() + rows * width,
              part_args.defined() ? part_args.data<Index>() + rows * width : nullptr,
              counts.data<Index>() + rows};
    };
    const std::size_t last = xs.size() - 1;
    const auto count = static_cast<unsigned>(xs.size());
    const EachTensor<PoolArguments<T>> args{{arguments(0), arguments(last)}};
    with_row_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          const Index units = quads_of(shared) + shared.units();
          const Index chunks = (width + kGroupLanes * N - 1) / (kGroupLanes * N);
          launch(span_pool_groups<T, N>, dim3(blocks_for("span_pool", batch * units * chunks, 1), count),
                 dim3(kThreads), shared_size<Pooled<T, N>>(kWarps * kGroupLanes), current_stream(), args);
        },
        x, xs[last], results.front().out, results[last].out);
    if (shared.units() == 0) return;
    launch(span_pool_join<T>, dim3(blocks_for("span_pool", batch * shared.rows * width, kJoinThreads), count),
           dim3(kJoinThreads), 0, current_stream(), args);
  });
}

void span_pool_grad(std::span<const SpanPoolGrad> grads, const Tensor& spans, SpanPool pool, const Mask& mask,
                    bool adds) {
  const SpanPoolGrad &first = grads.front(), &last = grads.back();
  if (first.dx.size() == 0) return;
  const Tensor& x = first.x;
  const Tensor runs = span_runs(spans);
  Tensor counts;
  if (pool == SpanPool::mean && mask.defined() && !mask.prefix && spans.dim(1) > 0) {
    const Index rows = x.dim(0) * spans.dim(1);
    counts = empty({rows}, kInt64, x.device());
    launch(span_count_rows, dim3(blocks_for("span_pool_grad", rows, kWarps)), dim3(kThreads), 0, current_stream(),
           SpanTable(spans), Reals(mask, x.dim(1)), x.dim(0), counts.data<Index>());
  }
  visit_float("span_pool_grad", x.dtype(), [&]<class T>(Type<T>) {
    const auto arguments = [&](const SpanPoolGrad& grad) -> PoolGradArguments<T> {
      Tensor dx = grad.dx;
      return {grad.dout.data<T>(),
              grad.forward.out.data<T>(),
              pool == SpanPool::max ? grad.forward.arg.data<Index>() : nullptr,
              counts.defined() ? counts.data<Index>() : nullptr,
              grad.x.view<const T, 3>(),
              SpanRuns(spans, runs),
              Reals(mask, x.dim(1)),
              pool,
              dx.data<T>(),
              adds};
    };
    const EachTensor<PoolGradArguments<T>> args{{arguments(first), arguments(last)}};
    with_row_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          const unsigned blocks = blocks_for("span_pool_grad", x.size() / N, kThreads);
          launch(span_pool_grad_positions<T, N>, dim3(blocks, static_cast<unsigned>(grads.size())), dim3(kThreads),
                 SpanRuns::bytes<kThreads>(), current_stream(), args);
        },
        x, last.x, first.dout, last.dout, first.forward.out, last.forward.out, first.dx, last.dx);
  });
}

}  // namespace subquad::kernels::cuda
