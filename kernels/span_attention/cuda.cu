#include "subquad/kernels/span_attention/cuda.h"

#include <algorithm>

#include "subquad/kernels/attention/cuda_group.cuh"
#include "subquad/kernels/dropout/weights.cuh"
#include "subquad/kernels/spans/cuda.h"
#include "subquad/kernels/spans/table.cuh"
#include "subquad/kernels/warp/reals.cuh"

// Groups of eight lanes multiply the span's query with four of its tokens at a time. A block has four neighbouring
// spans of a head, a warp for each, or, where a span is long, all warps for it; results of more than 64 columns are
// shared by several blocks, each of which makes the logits again.
namespace subquad::kernels::cuda {
namespace {

// Longer ones in the table are shared by the warps of a block, however many of their positions there are.
constexpr Index kLong = 256;

template <class T>
struct Arguments {
  View<const T, 4> q, k, v;
  SpanTable spans;
  Reals reals;
  T scale;
  WeightDropout dropout;

  Arguments(const Tensor& queries, const Tensor& keys, const Tensor& values, const Tensor& table, const Mask& mask,
            const SpanAttentionOptions& options)
      : q(queries.view<const T, 4>()),
        k(keys.view<const T, 4>()),
        v(values.view<const T, 4>()),
        spans(table),
        reals(mask, keys.dim(2)),
        scale(static_cast<T>(options.scale)),
        dropout(options.dropout, options.random) {}

  // What the weight of position j in a span is multiplied by.
  __device__ T factor(Index b, Index h, Span span, Index j) const {
    return static_cast<T>(dropout.factor(b, (span.begin + span.end) * q.dim(1) + h, j));
  }
};

template <class T>
struct ForwardArguments {
  Arguments<T> in;
  View<T, 4> out;
  View<T, 3> lse;
};

// What is made anew of a span in backward.
template <class T>
struct SpanNumbers {
  T top, share;  // its largest logit, and 1 / sum of e^(logit - top); 0 for an empty span
  T delta;       // dout . out
};

template <class T>
struct GradArguments {
  Arguments<T> in;
  View<const T, 4> dout, out;
  SpanRuns runs;
  SpanNumbers<T>* numbers;  // [B, H, S]
  View<T, 4> dq, dk, dv;
  bool adds;  // to what stands in dk and dv
};

// A span's tokens as a group of its walkers takes them: four at a time that share a block of random numbers. Who takes
// which follows from positions alone.
template <class T, int N>
class SpanWalk {
 public:
  __device__ SpanWalk(const Arguments<T>& in, Index b, Index h, Index s, Walkers walkers)
      : in_(in),
        b_(b),
        h_(h),
        q_(&in.q(b, h, s, 0)),
        real_(in.reals.sample(b)),
        walkers_(walkers),
        span_(in.spans.at(b, s)) {
    const Span span = SpanTable::clipped(span_, real_.end);
    begin_ = static_cast<int>(span.begin);
    end_ = static_cast<int>(span.end);
  }

  // Calls f(j, k, v, logit): keys and values of four tokens, null where one does not count, and position and logit of
  // the lane's own. Whole warps call f.
  template <class F>
  __device__ void each(const F& f) const {
    const int step = walkers_.count() * kGroupRows;
    for (int from = begin_ / step * step; from < end_; from += step) {
      const int first = from + walkers_.number() * kGroupRows, own = first + GroupLane().row;
      const T *k[kGroupRows], *v[kGroupRows];
#pragma unroll
      for (int x = 0; x < kGroupRows; ++x) {
        const bool seen = counts(first + x);
        k[x] = seen ? &in_.k(b_, h_, first + x, 0) : nullptr;
        v[x] = seen ? &in_.v(b_, h_, first + x, 0) : nullptr;
      }
      const T logit = in_.scale * dot_rows<N>(q_, k, static_cast<int>(in_.q.dim(3)));
      f(own, k, v, counts(own) ? logit : -std::numeric_limits<T>::infinity());
    }
  }
  __device__ T factor(int j) const {
    return in_.factor(b_, h_, span_, j);
  }

 private:
  __device__ bool counts(int j) const {
    return j >= begin_ && j < end_ && real_[j];
  }

  const Arguments<T>& in_;
  Index b_, h_;
  const T* q_;
  SampleReals real_;
  Walkers walkers_;
  Span span_;
  int begin_, end_;
};

// Calls f(b, h, s, column, walkers) for the spans of a block, and the 64 columns that it makes of `width`.
template <class T, class F>
__device__ void for_spans_of_block(const Arguments<T>& in, Index width, const F& f) {
  const Index quads = (in.spans.count + kGroupWarps - 1) / kGroupWarps;
  const Index chunks = (width + kGroupColumns - 1) / kGroupColumns, head = blockIdx.x / chunks / quads;
  const Index b = head / in.q.dim(1), h = head % in.q.dim(1), first = blockIdx.x / chunks % quads * kGroupWarps;
  const int column = static_cast<int>(blockIdx.x % chunks) * kGroupColumns;
  const auto is_long = [&](Index s) {
    const Span span = in.spans.at(b, s);
    return span.begin >= 0 && span.end - span.begin > kLong;
  };
  for (Index s = first; s < first + kGroupWarps && s < in.spans.count; ++s)
    if (is_long(s)) f(b, h, s, column, Walkers{true});
  const Index own = first + threadIdx.x / kWarp;
  if (own < in.spans.count && !is_long(own)) f(b, h, own, column, Walkers{false});
}

unsigned span_blocks(const char* op, const Tensor& q, Index width) {
  const Index quads = (q.dim(2) + kGroupWarps - 1) / kGroupWarps;
  return blocks_for(op, q.dim(0) * q.dim(1) * quads * ((width + kGroupColumns - 1) / kGroupColumns), 1);
}

// Reads the keys and values of a span once, and writes its row of out.
template <class T, int N>
__global__ void span_attention_groups(ForwardArguments<T> args) {
  SharedMemory shared;
  const GroupScratch<T> scratch(shared);
  const int width = static_cast<int>(args.out.dim(3));
  for_spans_of_block(args.in, width, [&](Index b, Index h, Index s, int column, Walkers walkers) {
    GroupOnline<T> online;
    GroupSums<N, T> sums;
    const SpanWalk<T, N> walk(args.in, b, h, s, walkers);
    walk.each([&](int j, const auto&, const auto& v, T logit) {
      T shrink;
      const T p = online.weigh(logit, shrink);
      sums.scale(shrink);
      sums.add(args.in.dropout.active ? p * walk.factor(j) : p, v, column, width);
    });
    sums.scale(online.join(walkers, scratch));
    add_walkers(sums, walkers, scratch);
    if (!walkers.writes()) return;
    sums.store(&args.out(b, h, s, 0), share_of(online.sum), column, width);
    if (column == 0 && GroupLane().lane == 0)
      args.lse(b, h, s) = online.sum == 0 ? -std::numeric_limits<T>::infinity() : online.top + std::log(online.sum);
  });
}

// Owns spans: dq, and the numbers that owners of positions need. Makes the logits twice, reads keys twice and values
// once.
template <class T, int N>
__global__ void span_attention_grad_groups(GradArguments<T> args) {
  SharedMemory shared;
  const GroupScratch<T> scratch(shared);
  const int width = static_cast<int>(args.dq.dim(3)), value_width = static_cast<int>(args.dout.dim(3));
  for_spans_of_block(args.in, width, [&](Index b, Index h, Index s, int column, Walkers walkers) {
    const SpanWalk<T, N> walk(args.in, b, h, s, walkers);
    GroupOnline<T> online;
    walk.each([&](int, const auto&, const auto&, T logit) {
      T shrink;
      online.weigh(logit, shrink);
    });
    online.join(walkers, scratch);
    const T *dout = &args.dout(b, h, s, 0), *const out[kGroupRows] = {&args.out(b, h, s, 0)};
    const T delta_of_row = dot_rows<N>(dout, out, value_width);
    const T delta = __shfl_sync(kWholeWarp, delta_of_row, GroupLane().base);  // of row 0
    const T share = share_of(online.sum);
    GroupSums<N, T> sums;
    walk.each([&](int j, const auto& k, const auto& v, T logit) {
      const T dp = dot_rows<N>(dout, v, value_width);
      const T p = std::exp(logit - online.top) * share;
      sums.add(p * ((args.in.dropout.active ? walk.factor(j) : T(1)) * dp - delta), k, column, width);
    });
    add_walkers(sums, walkers, scratch);
    if (!walkers.writes()) return;
    sums.store(&args.dq(b, h, s, 0), args.in.scale, column, width);
    if (column == 0 && GroupLane().lane == 0)
      args.numbers[(b * args.in.q.dim(1) + h) * args.in.spans.count + s] = {online.top, share, delta};
  });
}

// Owns positions, a group for each: dk and dv are what the spans that hold it give, four runs of spans at a time. Reads
// q and dout of a span once per position of it, mostly from cache.
template <class T, int N>
__global__ void span_attention_grad_positions(GradArguments<T> args) {
  SharedMemory shared;
  SpanRuns runs = args.runs;
  runs.find<kGroupThreads>(shared);
  const Arguments<T>& in = args.in;
  const int width = static_cast<int>(in.q.dim(3)), value_width = static_cast<int>(in.v.dim(3));
  const int widest = width > value_width ? width : value_width;
  const Index heads = in.q.dim(1), n = in.k.dim(2), chunks = (widest + kGroupColumns - 1) / kGroupColumns;
  constexpr int kPositions = kGroupThreads / kGroupLanes;
  const Index tiles = (n + kPositions - 1) / kPositions, head = blockIdx.x / chunks / tiles;
  const Index b = head / heads, h = head % heads;
  const int column = static_cast<int>(blockIdx.x % chunks) * kGroupColumns;
  const GroupLane group;
  const int j = static_cast<int>(blockIdx.x / chunks % tiles * kPositions + threadIdx.x / kGroupLanes);
  const bool counts = j < n && in.reals.sample(b)[j];
  const T *const k = &in.k(b, h, counts ? j : 0, 0), *const v = &in.v(b, h, counts ? j : 0, 0);
  GroupSums<N, T> dk, dv;
  for (Index run = 0; run < runs.count(b); run += kGroupRows) {
    const Index own = counts ? runs.in(b, run + group.row, j) : -1;  // the lane's span
    const T *q[kGroupRows], *dout[kGroupRows];
#pragma unroll
    for (int x = 0; x < kGroupRows; ++x) {
      const Index s = __shfl_sync(kWholeWarp, own, group.base + x);
      q[x] = s < 0 ? nullptr : &in.q(b, h, s, 0);
      dout[x] = s < 0 ? nullptr : &args.dout(b, h, s, 0);
    }
    const T logit = in.scale * dot_rows<N>(k, q, width), dp = dot_rows<N>(v, dout, value_width);
    T p = 0, ds = 0;
    if (own >= 0) {
      const SpanNumbers<T> numbers = args.numbers[head * in.spans.count + own];
      const T factor = in.dropout.active ? in.factor(b, h, in.spans.at(b, own), j) : T(1);
      p = std::exp(logit - numbers.top) * numbers.share;
      ds = p * (factor * dp - numbers.delta);
      p *= factor;
    }
    dk.add(ds, q, column, width);
    dv.add(p, dout, column, value_width);
  }
  if (args.adds) {
    if (!counts) return;
    dk.scale(in.scale);
    dk.add_row(&args.dk(b, h, j, 0), column, width);
    dv.add_row(&args.dv(b, h, j, 0), column, value_width);
  }
  if (j >= n) return;
  dk.store(&args.dk(b, h, j, 0), args.adds ? T(1) : in.scale, column, width);
  dv.store(&args.dv(b, h, j, 0), T(1), column, value_width);
}

}  // namespace

void span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans, const Mask& mask,
                    const SpanAttentionOptions& options, SpanAttentionOutput& result) {
  constexpr const char* kOp = "span_attention";
  if (result.lse.size() == 0) return;
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    const ForwardArguments<T> args{Arguments<T>(q, k, v, spans, mask, options), result.out.view<T, 4>(),
                                   result.lse.view<T, 3>()};
    with_row_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          launch(span_attention_groups<T, N>, dim3(span_blocks(kOp, q, v.dim(3))), dim3(kGroupThreads),
                 GroupScratch<T>::bytes(), current_stream(), args);
        },
        q, k, v, result.out);
  });
}

void span_attention_grad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                         const Tensor& out, const Mask& mask, const SpanAttentionOptions& options, bool adds,
                         SpanAttentionGrads& grads) {
  constexpr const char* kOp = "span_attention_grad";
  if (q.dim(0) * q.dim(1) == 0) return;
  const Tensor runs = span_runs(spans);
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    Tensor numbers = empty({q.dim(0), q.dim(1), q.dim(2), 3}, q.dtype(), q.device(), kOp);
    const GradArguments<T> args{Arguments<T>(q, k, v, spans, mask, options),
                                dout.view<const T, 4>(),
                                out.view<const T, 4>(),
                                SpanRuns(spans, runs),
                                reinterpret_cast<SpanNumbers<T>*>(numbers.data<T>()),
                                grads.dq.view<T, 4>(),
                                grads.dk.view<T, 4>(),
                                grads.dv.view<T, 4>(),
                                adds};
    with_row_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          if (q.dim(2) > 0)
            launch(span_attention_grad_groups<T, N>, dim3(span_blocks(kOp, q, q.dim(3))), dim3(kGroupThreads),
                   GroupScratch<T>::bytes(), current_stream(), args);
          if (k.dim(2) == 0) return;
          constexpr Index kPositions = kGroupThreads / kGroupLanes;
          const Index tiles = (k.dim(2) + kPositions - 1) / kPositions;
          const Index chunks = (std::max(q.dim(3), v.dim(3)) + kGroupColumns - 1) / kGroupColumns;
          launch(span_attention_grad_positions<T, N>, dim3(blocks_for(kOp, q.dim(0) * q.dim(1) * tiles * chunks, 1)),
                 dim3(kGroupThreads), SpanRuns::bytes<kGroupThreads>(), current_stream(), args);
        },
        dout, q, k, v, out, grads.dq, grads.dk, grads.dv);
  });
}

}  // namespace subquad::kernels::cuda
