#include "subquad/kernels/span_attention/cuda.h"

#include <algorithm>

#include "subquad/kernels/attention/cuda_group.cuh"
#include "subquad/kernels/attention/cuda_sight.cuh"
#include "subquad/kernels/dropout/weights.cuh"
#include "subquad/kernels/spans/cuda.h"
#include "subquad/kernels/spans/table.cuh"
#include "subquad/kernels/warp/reals.cuh"

// Groups of eight lanes multiply the span's query with four of its tokens at a time. A block has four neighbouring
// spans of a head, a warp for each, or, where a span is long, all warps for it; the longest ones of level_spans are
// shared by blocks, whose results another kernel joins. Results of more than 64 columns are shared by several blocks,
// each of which makes the logits again.
namespace subquad::kernels::cuda {
namespace {

// Longer ones in the table are shared by the warps of a block, however many of their positions there are.
constexpr Index kLong = 256;

template <class T>
struct Arguments {
  View<const T, 4> q, k, v;
  SpanTable spans;
  SharedSpans shared;
  Reals reals;
  T scale;
  WeightDropout dropout;

  Arguments(const Tensor& queries, const Tensor& keys, const Tensor& values, const Tensor& table, const Mask& mask,
            const SpanAttentionOptions& options)
      : q(queries.view<const T, 4>()),
        k(keys.view<const T, 4>()),
        v(values.view<const T, 4>()),
        spans(table),
        shared(table, keys.dim(2)),
        reals(mask, keys.dim(2)),
        scale(static_cast<T>(options.scale)),
        dropout(options.dropout, options.random) {}

  // What the weight of position j in a span is multiplied by.
  __device__ T factor(Index b, Index h, Span span, Index j) const {
    return static_cast<T>(dropout.factor(b, (span.begin + span.end) * q.dim(1) + h, j));
  }
};

// What the blocks that share spans tell the kernel that joins it.
template <class T>
struct Parts {
  T* sums = nullptr;     // [B H, units, columns]
  T* softmax = nullptr;  // [B H, units, 2]: largest logit, sum of e^(logit - largest); forward alone
};

template <class T>
struct ForwardArguments {
  Arguments<T> in;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
  Parts<T> parts;
};

template <class T>
struct GradArguments {
  Arguments<T> in;
  View<const T, 4> dout, out;
  View<const T, 3> lse, lse_rest;
  SpanRuns runs;
  T* delta;  // [B, H, S]: dout . out
  Parts<T> parts;
  View<T, 4> dq, dk, dv;
  bool adds;  // to what stands in dk and dv
};

// What a warp or block owns: a span, or a piece of one.
struct Owned {
  Index s;
  Walkers walkers;
  int unit = -1;  // number of the piece; -1: a whole span
  SharedSpans::Row row = {};

  __device__ bool leads() const { return unit <= row.first; }  // the first piece, or all
};

// A span's tokens as a group of its walkers takes them: four at a time that share a block of random numbers. Who takes
// which follows from positions alone.
template <class T, int N>
class SpanWalk {
 public:
  __device__ SpanWalk(const Arguments<T>& in, Index b, Index h, const Owned& own)
      : in_(in),
        b_(b),
        h_(h),
        q_(&in.q(b, h, own.s, 0)),
        real_(in.reals.sample(b)),
        walkers_(own.walkers),
        span_(in.spans.at(b, own.s)) {
    Span span = SpanTable::clipped(span_, real_.end);
    if (own.unit >= 0) span = SharedSpans::piece_of(span, own.row, own.unit);
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

// Blocks of four spans, and those that have a piece.
__host__ __device__ Index quads_of(const SharedSpans& shared) {
  return (shared.first + kGroupWarps - 1) / kGroupWarps;
}

// Calls f(b, h, own, column) for what a block owns, and the 64 columns that it makes of `width`.
template <class T, class F>
__device__ void for_spans_of_block(const Arguments<T>& in, Index width, const F& f) {
  const Index quads = quads_of(in.shared), units = quads + in.shared.units();
  const Index chunks = (width + kGroupColumns - 1) / kGroupColumns, head = blockIdx.x / chunks / units;
  const Index b = head / in.q.dim(1), h = head % in.q.dim(1), unit = blockIdx.x / chunks % units;
  const int column = static_cast<int>(blockIdx.x % chunks) * kGroupColumns;
  if (unit >= quads) {
    const int piece = static_cast<int>(unit - quads);
    const SharedSpans::Row row = in.shared.of_unit(piece);
    return f(b, h, Owned{row.row, Walkers{true}, piece, row}, column);
  }
  const auto is_long = [&](Index s) {
    const Span span = in.spans.at(b, s);
    return span.begin >= 0 && span.end - span.begin > kLong;
  };
  const Index first = unit * kGroupWarps;
  for (Index s = first; s < first + kGroupWarps && s < in.shared.first; ++s)
    if (is_long(s)) f(b, h, Owned{s, Walkers{true}}, column);
  const Index own = first + threadIdx.x / kWarp;
  if (own < in.shared.first && !is_long(own)) f(b, h, Owned{own, Walkers{false}}, column);
}

unsigned span_blocks(const char* op, const Tensor& q, const SharedSpans& shared, Index width) {
  const Index units = quads_of(shared) + shared.units();
  return blocks_for(op, q.dim(0) * q.dim(1) * units * ((width + kGroupColumns - 1) / kGroupColumns), 1);
}

// Where a piece's row of `width` columns, or its two numbers, stand.
template <class T>
__device__ T* place_of(T* parts, const Arguments<T>& in, Index b, Index h, int unit, int width) {
  return parts + ((b * in.q.dim(1) + h) * in.shared.units() + unit) * width;
}

// Reads the keys and values of a span once, and writes its row of out, or what a piece adds to it.
template <class T, int N>
__global__ void span_attention_groups(ForwardArguments<T> args) {
  SharedMemory shared;
  const GroupScratch<T> scratch(shared);
  const int width = static_cast<int>(args.out.dim(3));
  for_spans_of_block(args.in, width, [&](Index b, Index h, const Owned& own, int column) {
    GroupOnline<T> online;
    GroupSums<N, T> sums;
    const SpanWalk<T, N> walk(args.in, b, h, own);
    walk.each([&](int j, const auto&, const auto& v, T logit) {
      T shrink;
      const T p = online.weigh(logit, shrink);
      sums.scale(shrink);
      sums.add(args.in.dropout.active ? p * walk.factor(j) : p, v, column, width);
    });
    sums.scale(online.join(own.walkers, scratch));
    add_walkers(sums, own.walkers, scratch);
    if (!own.walkers.writes()) return;
    const bool tells = column == 0 && GroupLane().lane == 0;
    if (own.unit >= 0) {
      sums.store(place_of(args.parts.sums, args.in, b, h, own.unit, width), T(1), column, width);
      if (!tells) return;
      T* const softmax = place_of(args.parts.softmax, args.in, b, h, own.unit, 2);
      softmax[0] = online.top;
      softmax[1] = online.sum;
      return;
    }
    sums.store(&args.out(b, h, own.s, 0), share_of(online.sum), column, width);
    if (tells) store_lse(online.top, online.sum, &args.lse(b, h, own.s), &args.lse_rest(b, h, own.s));
  });
}

constexpr int kJoinThreads = 64;

// The shared span and the column of a thread.
template <class T>
struct Joined {
  Index b, h;
  int column;
  SharedSpans::Row row;
  bool exists;

  __device__ Joined(const Arguments<T>& in, int width) {
    const Index thread = Index{blockIdx.x} * kJoinThreads + threadIdx.x, number = thread / width;
    const Index head = number / in.shared.rows;
    b = head / in.q.dim(1);
    h = head % in.q.dim(1);
    column = static_cast<int>(thread % width);
    row = in.shared.of_row(in.shared.first + number % in.shared.rows);
    exists = b < in.q.dim(0);
  }
};

// A thread per column of a shared span joins the softmax of its pieces, in order.
template <class T>
__global__ void span_attention_join(ForwardArguments<T> args) {
  const int width = static_cast<int>(args.out.dim(3));
  const Joined<T> at(args.in, width);
  if (!at.exists) return;
  const T* const softmax = place_of(args.parts.softmax, args.in, at.b, at.h, at.row.first, 2);
  const T* const sums = place_of(args.parts.sums, args.in, at.b, at.h, at.row.first, width) + at.column;
  T top = softmax[0], sum = 0, total = 0;
  for (int piece = 1; piece < at.row.count; ++piece) top = Max::of(top, softmax[2 * piece]);
  for (int piece = 0; piece < at.row.count; ++piece) {
    const T weight = std::exp(softmax[2 * piece] - top);
    sum += sums[piece * width] * weight;
    total += softmax[2 * piece + 1] * weight;
  }
  args.out(at.b, at.h, at.row.row, at.column) = sum * share_of(total);
  if (at.column == 0) store_lse(top, total, &args.lse(at.b, at.h, at.row.row), &args.lse_rest(at.b, at.h, at.row.row));
}

// The weight of a token with this logit; 0 in a span without a real one.
template <class T>
__device__ T span_weight(T logit, T lse, T rest) {
  return lse == -std::numeric_limits<T>::infinity() ? T(0) : std::exp(logit - lse - rest);
}

// Owns spans, or pieces of them: dq, and the numbers that owners of positions need. Reads keys and values once.
template <class T, int N>
__global__ void span_attention_grad_groups(GradArguments<T> args) {
  SharedMemory shared;
  const GroupScratch<T> scratch(shared);
  const int width = static_cast<int>(args.dq.dim(3)), value_width = static_cast<int>(args.dout.dim(3));
  for_spans_of_block(args.in, width, [&](Index b, Index h, const Owned& own, int column) {
    const SpanWalk<T, N> walk(args.in, b, h, own);
    const T *dout = &args.dout(b, h, own.s, 0), *const out[kGroupRows] = {&args.out(b, h, own.s, 0)};
    const T delta_of_row = dot_rows<N>(dout, out, value_width);
    const T delta = __shfl_sync(kWholeWarp, delta_of_row, GroupLane().base);  // of row 0
    const T lse = args.lse(b, h, own.s), rest = args.lse_rest(b, h, own.s);
    GroupSums<N, T> sums;
    walk.each([&](int j, const auto& k, const auto& v, T logit) {
      const T dp = dot_rows<N>(dout, v, value_width), p = span_weight(logit, lse, rest);
      sums.add(p * ((args.in.dropout.active ? walk.factor(j) : T(1)) * dp - delta), k, column, width);
    });
    add_walkers(sums, own.walkers, scratch);
    if (!own.walkers.writes()) return;
    T* const row = own.unit < 0 ? &args.dq(b, h, own.s, 0) : place_of(args.parts.sums, args.in, b, h, own.unit, width);
    sums.store(row, args.in.scale, column, width);
    if (own.leads() && column == 0 && GroupLane().lane == 0)
      args.delta[(b * args.in.q.dim(1) + h) * args.in.spans.count + own.s] = delta;
  });
}

// A thread per column of a shared span adds up dq of its pieces, in order.
template <class T>
__global__ void span_attention_grad_join(GradArguments<T> args) {
  const int width = static_cast<int>(args.dq.dim(3));
  const Joined<T> at(args.in, width);
  if (!at.exists) return;
  const T* const sums = place_of(args.parts.sums, args.in, at.b, at.h, at.row.first, width) + at.column;
  T sum = 0;
  for (int piece = 0; piece < at.row.count; ++piece) sum += sums[piece * width];
  args.dq(at.b, at.h, at.row.row, at.column) = sum;
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
      const T factor = in.dropout.active ? in.factor(b, h, in.spans.at(b, own), j) : T(1);
      p = span_weight(logit, args.lse(b, h, own), args.lse_rest(b, h, own));
      ds = p * (factor * dp - args.delta[head * in.spans.count + own]);
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

// Room for what pieces find: [B H, units, columns].
Tensor empty_parts(const char* op, const Tensor& q, const SharedSpans& shared, Index columns) {
  return empty({q.dim(0) * q.dim(1), shared.units(), columns}, q.dtype(), q.device(), op);
}

dim3 join_blocks(const char* op, const Tensor& q, const SharedSpans& shared, Index width) {
  return dim3(blocks_for(op, q.dim(0) * q.dim(1) * shared.rows * width, kJoinThreads));
}

}  // namespace

void span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans, const Mask& mask,
                    const SpanAttentionOptions& options, SpanAttentionOutput& result) {
  constexpr const char* kOp = "span_attention";
  if (result.lse.size() == 0) return;
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    ForwardArguments<T> args{Arguments<T>(q, k, v, spans, mask, options),
                             result.out.view<T, 4>(),
                             result.lse.view<T, 3>(),
                             result.lse_rest.view<T, 3>(),
                             {}};
    const SharedSpans& shared = args.in.shared;
    Tensor sums = empty_parts(kOp, q, shared, v.dim(3)), softmax = empty_parts(kOp, q, shared, 2);
    args.parts = {sums.data<T>(), softmax.data<T>()};
    with_row_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          launch(span_attention_groups<T, N>, dim3(span_blocks(kOp, q, shared, v.dim(3))), dim3(kGroupThreads),
                 GroupScratch<T>::bytes(), current_stream(), args);
        },
        q, k, v, result.out);
    if (shared.units() > 0)
      launch(span_attention_join<T>, join_blocks(kOp, q, shared, v.dim(3)), dim3(kJoinThreads), 0, current_stream(),
             args);
  });
}

void span_attention_grad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                         const SpanAttentionOutput& forward, const Mask& mask, const SpanAttentionOptions& options,
                         bool adds, SpanAttentionGrads& grads) {
  constexpr const char* kOp = "span_attention_grad";
  if (q.dim(0) * q.dim(1) == 0) return;
  const Tensor runs = span_runs(spans);
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    Tensor delta = empty({q.dim(0), q.dim(1), q.dim(2)}, q.dtype(), q.device(), kOp);
    GradArguments<T> args{Arguments<T>(q, k, v, spans, mask, options),
                          dout.view<const T, 4>(),
                          forward.out.view<const T, 4>(),
                          forward.lse.view<const T, 3>(),
                          forward.lse_rest.view<const T, 3>(),
                          SpanRuns(spans, runs),
                          delta.data<T>(),
                          {},
                          grads.dq.view<T, 4>(),
                          grads.dk.view<T, 4>(),
                          grads.dv.view<T, 4>(),
                          adds};
    const SharedSpans& shared = args.in.shared;
    Tensor sums = empty_parts(kOp, q, shared, q.dim(3));
    args.parts.sums = sums.data<T>();
    with_row_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          if (q.dim(2) > 0)
            launch(span_attention_grad_groups<T, N>, dim3(span_blocks(kOp, q, shared, q.dim(3))), dim3(kGroupThreads),
                   GroupScratch<T>::bytes(), current_stream(), args);
          if (k.dim(2) == 0) return;
          constexpr Index kPositions = kGroupThreads / kGroupLanes;
          const Index tiles = (k.dim(2) + kPositions - 1) / kPositions;
          const Index chunks = (std::max(q.dim(3), v.dim(3)) + kGroupColumns - 1) / kGroupColumns;
          launch(span_attention_grad_positions<T, N>, dim3(blocks_for(kOp, q.dim(0) * q.dim(1) * tiles * chunks, 1)),
                 dim3(kGroupThreads), SpanRuns::bytes<kGroupThreads>(), current_stream(), args);
        },
        dout, q, k, v, forward.out, grads.dq, grads.dk, grads.dv);
    if (shared.units() > 0)
      launch(span_attention_grad_join<T>, join_blocks(kOp, q, shared, q.dim(3)), dim3(kJoinThreads), 0,
             current_stream(), args);
  });
}

}  // namespace subquad::kernels::cuda
