// Values that stand for blocks: the first part of level_attention. Include inside the per-target part of a kernel.
#if defined(SUBQUAD_KERNELS_LEVEL_ATTENTION_SPANS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_LEVEL_ATTENTION_SPANS_INL_H_
#undef SUBQUAD_KERNELS_LEVEL_ATTENTION_SPANS_INL_H_
#else
#define SUBQUAD_KERNELS_LEVEL_ATTENTION_SPANS_INL_H_
#endif

#include "subquad/kernels/level_attention/tree-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// One head: trees of queries (scaled), keys and values; those of q and k hold maxima.
template <class T>
struct Trees {
  const Levels<T>& levels;
  const Alive<T>& alive;
  ColumnPanel<T> q, k, v;

  Trees(const Levels<T>& shape, const Alive<T>& there, Index width, Index value_width)
      : levels(shape), alive(there), q(shape.rows(), width), k(shape.rows(), width), v(shape.rows(), value_width) {}
};

// Of each block's softmax the largest logit, and what its exponentials are multiplied by.
template <class T>
struct Norms {
  T* rows;  // [rows][2][lanes]

  T* top(Index r) const { return rows + 2 * r * kLanes<T>; }
  T* share(Index r) const { return top(r) + kLanes<T>; }
};

// dots[i] = row . row t + i of the tree
template <int kCount, class T>
HWY_INLINE void DotPositions(const ColumnPanel<T>& tree, Index t, const T* row, hn::Vec<Vector<T>>* dots) {
  const Vector<T> d;
  const Index size = tree.width() * kLanes<T>;
  const T* from = tree.row(t);
#pragma GCC unroll 4
  for (Index i = 0; i < kCount; ++i) dots[i] = hn::Zero(d);
  for (Index e = 0; e < size; e += kLanes<T>) {
    const auto number = hn::Load(d, row + e);
#pragma GCC unroll 4
    for (Index i = 0; i < kCount; ++i) dots[i] = hn::MulAdd(number, hn::Load(d, from + i * size + e), dots[i]);
  }
}

template <int kCount, class T>
HWY_INLINE void HideDead(const Alive<T>& alive, Index t, hn::Vec<Vector<T>>* logits) {
  const auto nothing = hn::Set(Vector<T>(), -std::numeric_limits<T>::infinity());
#pragma GCC unroll 8
  for (Index i = 0; i < kCount; ++i) logits[i] = hn::IfThenElse(alive.lanes(t + i), logits[i], nothing);
}

// 1 / total, or 0 where nobody was seen.
template <class T>
HWY_INLINE hn::Vec<Vector<T>> ShareOf(hn::Vec<Vector<T>> total) {
  const Vector<T> d;
  return hn::IfThenElseZero(hn::Gt(total, hn::Zero(d)), hn::Div(hn::Set(d, T(1)), total));
}

// The value of a block of kCount positions from t on, which lies inside a chunk.
template <int kCount, class T>
void SumInside(const Trees<T>& x, Index t, Index block, const Norms<T>& norms) {
  const Vector<T> d;
  hn::Vec<Vector<T>> p[kCount];
  DotPositions<kCount>(x.k, t, x.q.row(block), p);
  HideDead<kCount>(x.alive, t, p);
  auto top = hn::Set(d, std::numeric_limits<T>::lowest()), total = hn::Zero(d);
#pragma GCC unroll 4
  for (Index i = 0; i < kCount; ++i) top = hn::Max(top, p[i]);
#pragma GCC unroll 4
  for (Index i = 0; i < kCount; ++i) p[i] = hn::Mul(hn::Sub(p[i], top), Log2E(d));
  Exp2OfEach<kCount>(d, p);
#pragma GCC unroll 4
  for (Index i = 0; i < kCount; ++i) total = hn::Add(total, p[i]);
  const auto share = ShareOf<T>(total);
  hn::Store(top, d, norms.top(block));
  hn::Store(share, d, norms.share(block));
#pragma GCC unroll 4
  for (Index i = 0; i < kCount; ++i) p[i] = hn::Mul(p[i], share);
  const Index size = x.v.width() * kLanes<T>;
  const T* from = x.v.row(t);
  T* to = x.v.row(block);
  for (Index c = 0; c < size; c += kLanes<T>) {
    auto sum = hn::Mul(p[0], hn::Load(d, from + c));
#pragma GCC unroll 4
    for (Index i = 1; i < kCount; ++i) sum = hn::MulAdd(p[i], hn::Load(d, from + i * size + c), sum);
    hn::Store(sum, d, to + c);
  }
}

// A chunk's logits for a larger block, a vector for each of its positions, to weights; what was summed with the weights
// of earlier chunks follows the maximum down. Between chunks `norms` has the sum of weights in place of the share.
template <class T>
HWY_INLINE void WeighChunk(T* logits, Index step, const Alive<T>& alive, Index t, T* top_row, T* total_row, T* sums,
                           Index size) {
  const Vector<T> d;
  const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity()), before = hn::Load(d, top_row);
  auto top = before, second = before;
#pragma GCC unroll 4
  for (Index i = 0; i < kChunk; i += 2) {
    const auto one = hn::IfThenElse(alive.lanes(t + i), hn::Load(d, logits + i * step), nothing);
    const auto other = hn::IfThenElse(alive.lanes(t + i + 1), hn::Load(d, logits + (i + 1) * step), nothing);
    top = hn::Max(top, one);
    second = hn::Max(second, other);
    hn::Store(one, d, logits + i * step);
    hn::Store(other, d, logits + (i + 1) * step);
  }
  top = hn::Max(top, second);
  auto total = hn::Load(d, total_row);
  if (!hn::AllTrue(d, hn::Or(hn::Eq(top, before), hn::Eq(total, hn::Zero(d))))) {
    const auto shrink = Exp2(d, hn::Mul(hn::Sub(before, top), Log2E(d)));
    total = hn::Mul(total, shrink);
    for (Index c = 0; c < size; c += kLanes<T>) hn::Store(hn::Mul(hn::Load(d, sums + c), shrink), d, sums + c);
  }
  hn::Store(top, d, top_row);
  hn::Store(hn::Add(total, WeighColumn(logits, kChunk, step, top)), d, total_row);
}

// Sums to the value of a block, of several lanes if need be.
template <class T>
void FinishBlock(const Trees<T>& x, const Norms<T>& norms, Index block, int across, const T* sums) {
  const Vector<T> d;
  const Index size = x.v.width() * kLanes<T>;
  auto top = hn::Load(d, norms.top(block));
  auto total = hn::Load(d, norms.share(block)), shrink = hn::Set(d, T(1));
  if (across > 0) {
    const auto own = top;
    for (int bit = 0; bit < across; ++bit) top = hn::Max(top, Exchange<T>(bit)(top));
    shrink = Exp2(d, hn::Mul(hn::Sub(own, top), Log2E(d)));
    total = SumOfLaneBlock<T>(hn::Mul(total, shrink), across);
  }
  const auto share = ShareOf<T>(total);
  hn::Store(top, d, norms.top(block));
  hn::Store(share, d, norms.share(block));
  for (Index c = 0; c < size; c += kLanes<T>) {
    auto sum = hn::Load(d, sums + c);
    if (across > 0) sum = SumOfLaneBlock<T>(hn::Mul(sum, shrink), across);
    hn::Store(hn::Mul(sum, share), d, x.v.row(block) + c);
  }
}

// Values of all blocks, into the tree of v: those inside of a chunk one by one; a chunk gives to all larger ones that
// it lies in at once, as products of panels.
template <class T>
void SumBlocks(const Trees<T>& x, Index width, Index value_width, const Norms<T>& norms) {
  const Vector<T> d;
  const Levels<T>& levels = x.levels;
  const Index count = levels.shared(), whole = WholeTiles(count), value_size = x.v.width() * kLanes<T>;
  const ColumnPanel<T> queries(count, width), sums(count, value_width);
  const Buffer<T> weights(kChunk * whole * kLanes<T>);
  for (Index t = 0; t < levels.length; t += kChunk) {
    for (Index i = t; i < t + kChunk; i += 2) SumInside<2>(x, i, levels.row(1, i), norms);
    for (Index i = t; i < t + kChunk; i += 4) SumInside<4>(x, i, levels.row(2, i), norms);
    for (Index s = 0; s < count; ++s) {
      const int level = kInside + static_cast<int>(s);
      if (!levels.begins(level, t)) continue;
      const Index block = levels.row(level, t);
      CopyVectors(x.q.row(block), x.q.width() * kLanes<T>, queries.row(s));
      std::fill_n(sums.row(s), value_size, T(0));
      hn::Store(hn::Set(d, std::numeric_limits<T>::lowest()), d, norms.top(block));
      hn::Store(hn::Zero(d), d, norms.share(block));
    }
    LatticeProduct<false>(kChunk, count, x.k.width(), x.k.by_rows(t), queries.by_features(0),
                          Lattice<T>{weights.data(), whole, 1});
    for (Index s = 0; s < count; ++s) {
      const Index block = levels.row(kInside + static_cast<int>(s), t);
      WeighChunk(weights.data() + s * kLanes<T>, whole * kLanes<T>, x.alive, t, norms.top(block), norms.share(block),
                 sums.row(s), value_size);
    }
    LatticeProduct<true>(count, x.v.width(), kChunk, Lattice<const T>{weights.data(), 1, whole}, x.v.by_rows(t),
                         sums.from_row(0));
    for (Index s = 0; s < count; ++s) {
      const int level = kInside + static_cast<int>(s);
      if (levels.ends(level, t + kChunk))
        FinishBlock(x, norms, levels.row(level, t), std::max(0, level - levels.height), sums.row(s));
    }
  }
}

// p and dp of kCount vectors `step` apart to p and ds.
template <int kCount, class T>
HWY_INLINE void DifferentiateBlock(hn::Vec<Vector<T>>* p, hn::Vec<Vector<T>>* ds, hn::Vec<Vector<T>> top,
                                   hn::Vec<Vector<T>> share, hn::Vec<Vector<T>> delta) {
  const Vector<T> d;
#pragma GCC unroll 8
  for (Index i = 0; i < kCount; ++i) p[i] = hn::Mul(hn::Sub(p[i], top), Log2E(d));
  Exp2OfEach<kCount>(d, p);
#pragma GCC unroll 8
  for (Index i = 0; i < kCount; ++i) {
    p[i] = hn::Mul(p[i], share);
    ds[i] = hn::Mul(p[i], hn::Sub(ds[i], delta));
  }
}

template <class T>
HWY_INLINE hn::Vec<Vector<T>> DotRow(const T* a, const T* b, Index size) {
  const Vector<T> d;
  auto sum = hn::Zero(d);
  for (Index e = 0; e < size; e += kLanes<T>) sum = hn::MulAdd(hn::Load(d, a + e), hn::Load(d, b + e), sum);
  return sum;
}

// Gradients of a block's value to its positions and its query.
template <int kCount, class T>
void GradInside(const Trees<T>& x, Index t, Index block, const Norms<T>& norms, const Trees<T>& grads) {
  const Vector<T> d;
  hn::Vec<Vector<T>> p[kCount], ds[kCount];
  const Index value_size = x.v.width() * kLanes<T>, size = x.q.width() * kLanes<T>;
  const T *up = grads.v.row(block), *q = x.q.row(block), *k = x.k.row(t);
  DotPositions<kCount>(x.k, t, q, p);
  HideDead<kCount>(x.alive, t, p);
  DotPositions<kCount>(x.v, t, up, ds);
  DifferentiateBlock<kCount, T>(p, ds, hn::Load(d, norms.top(block)), hn::Load(d, norms.share(block)),
                                DotRow(up, x.v.row(block), value_size));
  T *dv = grads.v.row(t), *dk = grads.k.row(t), *dq = grads.q.row(block);
  for (Index c = 0; c < value_size; c += kLanes<T>) {
    const auto number = hn::Load(d, up + c);
#pragma GCC unroll 4
    for (Index i = 0; i < kCount; ++i) {
      T* to = dv + i * value_size + c;
      hn::Store(hn::MulAdd(p[i], number, hn::Load(d, to)), d, to);
    }
  }
  for (Index e = 0; e < size; e += kLanes<T>) {
    const auto number = hn::Load(d, q + e);
    auto sum = hn::Zero(d);
#pragma GCC unroll 4
    for (Index i = 0; i < kCount; ++i) {
      T* to = dk + i * size + e;
      hn::Store(hn::MulAdd(ds[i], number, hn::Load(d, to)), d, to);
      sum = hn::MulAdd(ds[i], hn::Load(d, k + i * size + e), sum);
    }
    hn::Store(sum, d, dq + e);
  }
}

// Gradients of all blocks' values, which stand in the tree of dv: those of keys and values are added to what positions
// have, those of blocks' queries are written.
template <class T>
void SumBlocksGrad(const Trees<T>& x, Index width, Index value_width, const Norms<T>& norms, const Trees<T>& grads) {
  const Vector<T> d;
  const Levels<T>& levels = x.levels;
  const Index count = levels.shared(), whole = WholeTiles(count), step = whole * kLanes<T>;
  const Index size = x.q.width() * kLanes<T>, value_size = x.v.width() * kLanes<T>;
  const ColumnPanel<T> queries(count, width), query_grads(count, width), ups(count, value_width);
  const Buffer<T> p_block(kChunk * step), ds_block(kChunk * step), deltas(step);
  const Lattice<T> p{p_block.data(), whole, 1}, ds{ds_block.data(), whole, 1};
  const Lattice<const T> by_position_p{p.data, whole, 1}, by_position_ds{ds.data, whole, 1};
  const Lattice<const T> by_block_ds{ds.data, 1, whole};
  for (Index t = 0; t < levels.length; t += kChunk) {
    for (Index i = t; i < t + kChunk; i += 2) GradInside<2>(x, i, levels.row(1, i), norms, grads);
    for (Index i = t; i < t + kChunk; i += 4) GradInside<4>(x, i, levels.row(2, i), norms, grads);
    for (Index s = 0; s < count; ++s) {
      const int level = kInside + static_cast<int>(s);
      if (!levels.begins(level, t)) continue;
      const Index block = levels.row(level, t);
      CopyVectors(x.q.row(block), size, queries.row(s));
      CopyVectors(grads.v.row(block), value_size, ups.row(s));
      std::fill_n(query_grads.row(s), size, T(0));
      hn::Store(DotRow(ups.row(s), x.v.row(block), value_size), d, deltas.data() + s * kLanes<T>);
    }
    LatticeProduct<false>(kChunk, count, x.k.width(), x.k.by_rows(t), queries.by_features(0), p);
    LatticeProduct<false>(kChunk, count, x.v.width(), x.v.by_rows(t), ups.by_features(0), ds);
    for (Index s = 0; s < count; ++s) {
      const Index block = levels.row(kInside + static_cast<int>(s), t);
      hn::Vec<Vector<T>> weights[kChunk], slopes[kChunk];
#pragma GCC unroll 8
      for (Index i = 0; i < kChunk; ++i) {
        weights[i] = hn::Load(d, p.at(i, s));
        slopes[i] = hn::Load(d, ds.at(i, s));
      }
      HideDead<kChunk>(x.alive, t, weights);
      DifferentiateBlock<kChunk, T>(weights, slopes, hn::Load(d, norms.top(block)), hn::Load(d, norms.share(block)),
                                    hn::Load(d, deltas.data() + s * kLanes<T>));
#pragma GCC unroll 8
      for (Index i = 0; i < kChunk; ++i) {
        hn::Store(weights[i], d, p.at(i, s));
        hn::Store(slopes[i], d, ds.at(i, s));
      }
    }
    LatticeProduct<true>(kChunk, x.v.width(), count, by_position_p, ups.by_rows(0), grads.v.from_row(t));
    LatticeProduct<true>(kChunk, x.k.width(), count, by_position_ds, queries.by_rows(0), grads.k.from_row(t));
    LatticeProduct<true>(count, x.q.width(), kChunk, by_block_ds, x.k.by_rows(t), query_grads.from_row(0));
    for (Index s = 0; s < count; ++s) {
      const int level = kInside + static_cast<int>(s);
      if (!levels.ends(level, t + kChunk)) continue;
      T* to = grads.q.row(levels.row(level, t));
      for (Index e = 0; e < size; e += kLanes<T>)
        hn::Store(SumOfLaneBlock<T>(hn::Load(d, query_grads.row(s) + e), std::max(0, level - levels.height)), d,
                  to + e);
    }
  }
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
