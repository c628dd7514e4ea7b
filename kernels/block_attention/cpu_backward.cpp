#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/block_attention/cpu_backward.cpp"
#include "subquad/kernels/block_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/block_attention/columns_grad-inl.h"

// Who computes which lines: tasks of a few lines each, or chunks of a head where lines share rows of a table.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// Where lines share rows of a table, they are cut into chunks, by the sample's length alone; each adds up such rows in
// a place of its own, and these are added in order. So a head can occupy several threads and still gives the same bits.
constexpr Index kChunk = 1024, kMaxChunks = 8;  // tokens; chunks of a head

Index ChunkCount(Index extent) {
  return std::clamp<Index>(extent / kChunk, 1, kMaxChunks);
}

template <class T>
struct Share {  // of one chunk in the gradients of shared rows
  RowRange rows;
  Buffer<T> dk{0}, dv{0};
};

template <class T>
Share<T> SharedChunk(const GradArguments<T>& args, Index head, Index chunk) {
  const Index b = head / args.q.dim(1), h = head % args.q.dim(1), extent = args.sight.extent(b);
  const Index chunks = ChunkCount(extent), length = args.sight.line_length(0);
  Share<T> share;
  if (chunk >= chunks) return share;
  const Index lines = (extent + length - 1) / length, per_chunk = (lines + chunks - 1) / chunks;
  const Index begin = std::min(lines, chunk * per_chunk), end = std::min(lines, begin + per_chunk);
  share.rows = args.sight.shared_rows(begin, end);
  share.dk = Buffer<T>(share.rows.count * args.width());
  share.dv = Buffer<T>(share.rows.count * args.value_width());
  share.dk.zero();
  share.dv.zero();
  Targets<T> targets(args, b, h);
  targets.shared = share.rows;
  targets.place = {share.dk.data(), share.dv.data(), args.width(), args.value_width(), share.rows.first};
  BackwardLines(args, b, h, 0, begin, chunk + 1 < chunks ? end : args.sight.lines(0), targets);  // and padded ones
  return share;
}

template <class T>
void AddShare(const GradArguments<T>& args, Index head, const Share<T>& share) {
  if (share.rows.table < 0) return;
  const Index b = head / args.q.dim(1), h = head % args.q.dim(1);
  const auto add = [&](const Buffer<T>& from, const View<T, 4>& to) {
    const Index width = to.dim(3);
    for (Index row = 0; row < share.rows.count; ++row) {
      T* sum = &to(b, h, share.rows.first + row, 0);
      for (Index e = 0; e < width; ++e) sum[e] += from.data()[row * width + e];
    }
  };
  add(share.dk, args.dk[static_cast<std::size_t>(share.rows.table)]);
  add(share.dv, args.dv[static_cast<std::size_t>(share.rows.table)]);
}

// Heads side by side where there are enough of them, else chunks; the bits are the same.
template <class T>
void BackwardShared(const GradArguments<T>& args, Index work) {
  const Index heads = args.q.dim(0) * args.q.dim(1), chunks = ChunkCount(args.q.dim(2));
  if (heads >= num_threads() || chunks == 1) {
    parallel_for(heads, work, [&](Index head) {
      for (Index c = 0; c < chunks; ++c) AddShare(args, head, SharedChunk(args, head, c));
    });
    return;
  }
  std::vector<Share<T>> shares(static_cast<std::size_t>(heads * chunks));
  parallel_for(heads * chunks, work / chunks, [&](Index task) {
    shares[static_cast<std::size_t>(task)] = SharedChunk(args, task / chunks, task % chunks);
  });
  for (Index task = 0; task < heads * chunks; ++task)
    AddShare(args, task / chunks, shares[static_cast<std::size_t>(task)]);
}

template <class T>
void Backward(const GradArguments<T>& args) {
  constexpr Index kQueries = 256;  // of a task, about
  const Index heads = args.q.dim(1), n = args.q.dim(2);
  const Index work = 64 * (3 * args.width() + 2 * args.value_width()) / 8;  // of a query, about
  if (args.q.dim(0) * heads * n == 0) return;
  if (args.sight.shares_rows()) return BackwardShared(args, n * work);
  for (int stage = args.first_stage; stage < args.sight.stages(); ++stage) {
    const Index lines = args.sight.lines(stage);
    if (GoAbreast<T>(args.sight, stage)) {
      ForColumns<T>(args.sight, stage, args.q.dim(0), heads, kQueries * work,
                    [&](Index b, Index h, const Columns& columns) { BackwardAbreast(args, b, h, stage, columns); });
      continue;
    }
    const Index per_task = std::max<Index>(1, kQueries / args.sight.line_length(stage));
    const Index tasks = (lines + per_task - 1) / per_task;
    parallel_for(args.q.dim(0) * heads * tasks, kQueries * work, [&](Index task) {
      const Index b = task / tasks / heads, h = task / tasks % heads, begin = task % tasks * per_task;
      BackwardLines(args, b, h, stage, begin, std::min(lines, begin + per_task), Targets<T>(args, b, h));
    });
  }
}

// What queries give to their own rows: writes drow_lse and, where summaries' values add up theirs, p dout.
template <class T>
void OwnRows(const GradArguments<T>& args, const BlockAttentionOutput& row, View<T, 3> drow_lse) {
  const Vector<T> d;
  const auto out = row.out.view<const T, 4>();
  const auto lse = row.lse.view<const T, 3>(), rest = row.lse_rest.view<const T, 3>();
  const Index heads = args.q.dim(1), n = args.q.dim(2), width = args.value_width();
  ForRows(args.q.dim(0) * n * heads, width, 4, [&](Index at) HWY_ATTR {
    const Index b = at / heads / n, i = at / heads % n, h = at % heads;
    T* to = &args.dv[1](b, h, i, 0);
    if (!args.sight.real(b, i) || lse(b, h, i) == -std::numeric_limits<T>::infinity()) {
      drow_lse(b, h, i) = 0;
      std::fill_n(to, width, T(0));
      return;
    }
    const T log_p = (lse(b, h, i) - args.lse(b, h, i)) + (rest(b, h, i) - args.lse_rest(b, h, i));
    const T p = std::exp(std::min(log_p, T(0)));
    const T* dout = &args.dout(b, h, i, 0);
    T delta = Dot(dout, &args.out(b, h, i, 0), width);
    if (args.dlse.defined()) delta -= args.dlse.template view<const T, 3>()(b, h, i);
    drow_lse(b, h, i) = p * (Dot(dout, &out(b, h, i, 0), width) - delta);
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      lanes.Store(hn::Mul(hn::Set(d, p), lanes.Load(dout + c)), to + c);
    });
  });
}

}  // namespace

void BlockAttentionGrad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Summaries>& summaries, const BlockAttentionOutput& forward,
                        const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                        BlockAttentionGrads& grads) {
  const Sight sight(pattern, mask, k.dim(0), k.dim(2));
  visit_float("block_attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    std::vector<View<T, 4>> dk = {grads.dk.view<T, 4>()}, dv = {grads.dv.view<T, 4>()};
    for (Summaries& table : grads.dsummaries) {
      dk.push_back(table.k.view<T, 4>());
      dv.push_back(table.v.view<T, 4>());
    }
    Backward<T>({dout.view<const T, 4>(), q.view<const T, 4>(), forward.out.view<const T, 4>(),
                 forward.lse.view<const T, 3>(), forward.lse_rest.view<const T, 3>(), dlse, Tables<T>(k, v, summaries),
                 sight, static_cast<T>(options.scale), DirectDropout(options, q.dim(1)), grads.dq.view<T, 4>(), dk,
                 dv});
  });
}

void BlockAttentionAcrossGrad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k_span,
                              const BlockAttentionOutput& row, const BlockAttentionOutput& forward,
                              const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                              BlockAttentionAcrossGrads& grads) {
  const Sight sight(pattern, mask, q.dim(0), q.dim(2));
  visit_float("block_attention_across_grad", q.dtype(), [&]<class T>(Type<T>) {
    const std::vector<View<T, 4>> dk(2, grads.dk_span.view<T, 4>()), dv(2, grads.drow_out.view<T, 4>());
    const GradArguments<T> args = {dout.view<const T, 4>(),
                                   q.view<const T, 4>(),
                                   forward.out.view<const T, 4>(),
                                   forward.lse.view<const T, 3>(),
                                   forward.lse_rest.view<const T, 3>(),
                                   dlse,
                                   Tables<T>(k_span, row.out, {{k_span, row.out}}),
                                   sight,
                                   static_cast<T>(options.scale),
                                   DirectDropout({}, q.dim(1)),
                                   grads.dq.view<T, 4>(),
                                   dk,
                                   dv,
                                   1};
    OwnRows(args, row, grads.drow_lse.view<T, 3>());
    Backward(args);
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(BlockAttentionGrad);
HWY_EXPORT(BlockAttentionAcrossGrad);

void cpu::block_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                               const Tensor& v, const std::vector<Summaries>& summaries,
                               const BlockAttentionOutput& forward, const BlockPattern& pattern, const Mask& mask,
                               const BlockAttentionOptions& options, BlockAttentionGrads& grads) {
  SUBQUAD_DISPATCH(BlockAttentionGrad)(dout, dlse, q, k, v, summaries, forward, pattern, mask, options, grads);
}

void cpu::block_attention_across_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k_span,
                                      const BlockAttentionOutput& row, const BlockAttentionOutput& forward,
                                      const BlockPattern& pattern, const Mask& mask,
                                      const BlockAttentionOptions& options, BlockAttentionAcrossGrads& grads) {
  SUBQUAD_DISPATCH(BlockAttentionAcrossGrad)(dout, dlse, q, k_span, row, forward, pattern, mask, options, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
