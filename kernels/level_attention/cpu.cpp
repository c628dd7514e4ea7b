#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/level_attention/cpu.cpp"
#include "subquad/kernels/level_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/level_attention/seen-inl.h"

// A head at a time: its rows become a tree of panels, level by level; then chunks of kChunk positions of each lane see
// all the levels above them at once, as products of panels.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

const bool* RealOf(const Mask& mask, Index b) {
  return mask.defined() ? mask.real.data<bool>() + b * mask.real.dim(1) : nullptr;
}

// Positions up to the last real one, so that no amount of padding behind it changes the order of a sum.
Index ExtentOf(const bool* real, Index n) {
  while (real != nullptr && n > 0 && !real[n - 1]) --n;
  return n;
}

// Rows of x from `first` on.
template <class T>
void ZeroRows(View<T, 4> x, Index b, Index h, Index first) {
  for (Index i = first; i < x.dim(2); ++i) std::fill_n(&x(b, h, i, 0), x.dim(3), T(0));
}

template <class T>
T ScaleOf(Index width) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(width)));
}

// Trees of q and k and the positions of v.
template <class T>
Trees<T> LoadTrees(const Tensor& q, const Tensor& k, const Tensor& v, Index b, Index h, const Levels<T>& levels,
                   const Alive<T>& alive, const bool* real) {
  Trees<T> x(levels, alive, q.dim(3), v.dim(3));
  LoadPositions(q.view<const T, 4>(), b, h, levels, real, ScaleOf<T>(q.dim(3)), x.q);
  LoadPositions(k.view<const T, 4>(), b, h, levels, real, T(1), x.k);
  LoadPositions(v.view<const T, 4>(), b, h, levels, real, T(1), x.v);
  PoolBlocks(levels, alive, x.q);
  PoolBlocks(levels, alive, x.k);
  return x;
}

// What `summaries` keep of one head: norms of all rows, and the blocks' values.
template <class T>
struct HeadSummaries {
  Norms<T> norms;
  T* values;
  Index size;

  HeadSummaries(T* data, const Levels<T>& levels, Index value_width)
      : norms{data},
        values(data + 2 * kLanes<T> * levels.rows()),
        size(kLanes<T> * WholeTiles(value_width) * (levels.rows() - levels.length)) {}
};

template <class T>
void Forward(const Tensor& q, const Tensor& k, const Tensor& v, bool causal, const Mask& mask,
             LevelAttentionOutput& result) {
  const Index heads = q.dim(1), width = q.dim(3), value_width = v.dim(3);
  const auto out = result.out.view<T, 4>();
  const auto lse = result.lse.view<T, 3>();
  const Index kept_row = result.summaries.dim(2);
  parallel_for(q.dim(0) * heads, q.dim(2) * 8 * (width + value_width), [&](Index head) {
    const Index b = head / heads, h = head % heads;
    const bool* real = RealOf(mask, b);
    const Index extent = ExtentOf(real, q.dim(2));
    ZeroRows(out, b, h, extent);
    for (Index i = extent; i < q.dim(2); ++i) lse(b, h, i) = -std::numeric_limits<T>::infinity();
    if (extent == 0) return;
    const Levels<T> levels(extent);
    const Alive<T> alive(levels, real);
    const Trees<T> x = LoadTrees(q, k, v, b, h, levels, alive, real);
    const HeadSummaries<T> kept(result.summaries.data<T>() + head * kept_row, levels, value_width);
    SumBlocks(x, width, value_width, kept.norms);
    CopyVectors(x.v.row(levels.length), kept.size, kept.values);
    SeeBlocks(x, causal, width, b, h, out, lse);
  });
}

// Lanes may have a last level that is the whole sequence, which nobody looks at.
template <class T>
void ZeroLastRow(const ColumnPanel<T>& tree, const Levels<T>& levels) {
  std::fill_n(tree.row(levels.rows() - 1), tree.width() * kLanes<T>, T(0));
}

template <class T>
void Backward(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
              const Tensor& summaries, bool causal, const Mask& mask, LevelAttentionGrads& to) {
  const Index heads = q.dim(1), width = q.dim(3), value_width = v.dim(3);
  const View<T, 4> dq = to.dq.view<T, 4>(), dk = to.dk.view<T, 4>(), dv = to.dv.view<T, 4>();
  parallel_for(q.dim(0) * heads, q.dim(2) * 20 * (width + value_width), [&](Index head) {
    const Index b = head / heads, h = head % heads;
    const bool* real = RealOf(mask, b);
    const Index extent = ExtentOf(real, q.dim(2));
    for (const View<T, 4>& grad : {dq, dk, dv}) ZeroRows(grad, b, h, extent);
    if (extent == 0) return;
    const Levels<T> levels(extent);
    const Alive<T> alive(levels, real);
    const Trees<T> x = LoadTrees(q, k, v, b, h, levels, alive, real);
    const HeadSummaries<T> kept(const_cast<T*>(summaries.data<T>()) + head * summaries.dim(2), levels, value_width);
    CopyVectors<T>(kept.values, kept.size, x.v.row(levels.length));
    const ColumnPanel<T> up(levels.length, value_width);
    LoadPositions(dout.view<const T, 4>(), b, h, levels, real, T(1), up);

    const Trees<T> grads(levels, alive, width, value_width);
    for (const ColumnPanel<T>* tree : {&grads.q, &grads.k, &grads.v}) ZeroLastRow(*tree, levels);
    SeeBlocksGrad(x, up, dlse, causal, width, value_width, b, h, grads);
    SumBlocksGrad(x, width, value_width, kept.norms, grads);
    UnpoolBlocks(levels, alive, x.q, grads.q);
    UnpoolBlocks(levels, alive, x.k, grads.k);
    StorePositions(grads.q, 0, 0, levels.length, levels, ScaleOf<T>(width), dq, b, h);
    StorePositions(grads.k, 0, 0, levels.length, levels, T(1), dk, b, h);
    StorePositions(grads.v, 0, 0, levels.length, levels, T(1), dv, b, h);
  });
}

}  // namespace

Shape LevelSummaries(const Tensor& q, const Tensor& v) {
  return visit_float("level_attention", q.dtype(), [&]<class T>(Type<T>) {
    const Levels<T> levels(std::max<Index>(q.dim(2), 1));
    const Index row = kLanes<T> * WholeTiles(v.dim(3));
    return Shape{q.dim(0), q.dim(1), 2 * kLanes<T> * levels.rows() + row * (levels.rows() - levels.length)};
  });
}

void LevelAttention(const Tensor& q, const Tensor& k, const Tensor& v, bool causal, const Mask& mask,
                    LevelAttentionOutput& result) {
  if (q.size() == 0) return;
  visit_float("level_attention", q.dtype(), [&]<class T>(Type<T>) { Forward<T>(q, k, v, causal, mask, result); });
}

void LevelAttentionGrad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& summaries, bool causal, const Mask& mask, LevelAttentionGrads& grads) {
  if (q.size() == 0) return;
  visit_float("level_attention_grad", q.dtype(),
              [&]<class T>(Type<T>) { Backward<T>(dout, dlse, q, k, v, summaries, causal, mask, grads); });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(LevelSummaries);
HWY_EXPORT(LevelAttention);
HWY_EXPORT(LevelAttentionGrad);

Shape cpu::level_summaries(const Tensor& q, const Tensor& v) {
  return SUBQUAD_DISPATCH(LevelSummaries)(q, v);
}

void cpu::level_attention(const Tensor& q, const Tensor& k, const Tensor& v, bool causal, const Mask& mask,
                          LevelAttentionOutput& result) {
  SUBQUAD_DISPATCH(LevelAttention)(q, k, v, causal, mask, result);
}

void cpu::level_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                               const Tensor& v, const Tensor& summaries, bool causal, const Mask& mask,
                               LevelAttentionGrads& grads) {
  SUBQUAD_DISPATCH(LevelAttentionGrad)(dout, dlse, q, k, v, summaries, causal, mask, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
