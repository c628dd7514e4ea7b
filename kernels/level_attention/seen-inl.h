// Attention to tokens and blocks: the second part of level_attention. Include inside the per-target part of a kernel.
#if defined(SUBQUAD_KERNELS_LEVEL_ATTENTION_SEEN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_LEVEL_ATTENTION_SEEN_INL_H_
#undef SUBQUAD_KERNELS_LEVEL_ATTENTION_SEEN_INL_H_
#else
#define SUBQUAD_KERNELS_LEVEL_ATTENTION_SEEN_INL_H_
#endif

#include "subquad/kernels/level_attention/spans-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// What two neighbouring positions t, t + 1 see of their chunk: each other, and the blocks of two and of four beside
// their own.
inline constexpr Index kOwn = 4;
template <class T>
struct Own {
  Index rows[kOwn];
  bool visible[2][kOwn];

  Own(const Levels<T>& levels, bool causal, Index t)
      : rows{t, t + 1, levels.beside(1, t), levels.beside(2, t)},
        visible{{true, !causal, !causal || (t & 2) != 0, !causal || (t & 4) != 0},
                {true, true, !causal || (t & 2) != 0, !causal || (t & 4) != 0}} {}
};

// The blocks beside those that a chunk lies in, from level kInside on: one for each level.
template <class T>
struct Beside {
  ColumnPanel<T> k, v;
  Buffer<T> visible;  // [levels][lanes], 1 or 0

  Beside(const Levels<T>& levels, Index width, Index value_width)
      : k(levels.shared(), width), v(levels.shared(), value_width), visible(levels.shared() * kLanes<T>) {}

  // Those that are new to the chunk at t.
  void take(const Trees<T>& x, bool causal, Index t) {
    for (Index s = 0; s < x.levels.shared(); ++s) {
      const int level = kInside + static_cast<int>(s);
      if (!x.levels.begins(level, t)) continue;
      if (level < x.levels.height)
        take_below(x, x.levels.beside(level, t), !causal || (t >> level & 1) != 0, s);
      else
        take_across(x, x.levels.row(level, t), level - x.levels.height, causal, s);
    }
  }
  hn::Mask<Vector<T>> seen(Index s) const {
    return hn::Gt(hn::Load(Vector<T>(), visible.data() + s * kLanes<T>), hn::Zero(Vector<T>()));
  }

 private:
  void take_below(const Trees<T>& x, Index block, bool sees, Index s) {
    CopyVectors(x.k.row(block), k.width() * kLanes<T>, k.row(s));
    CopyVectors(x.v.row(block), v.width() * kLanes<T>, v.row(s));
    for (Index lane = 0; lane < kLanes<T>; ++lane)
      visible.data()[s * kLanes<T> + lane] = sees ? x.alive.row(block)[lane] : T(0);
  }
  void take_across(const Trees<T>& x, Index block, int bit, bool causal, Index s) {
    const Vector<T> d;
    const Exchange<T> other(bit);
    for (Index e = 0; e < k.width() * kLanes<T>; e += kLanes<T>)
      hn::Store(other(hn::Load(d, x.k.row(block) + e)), d, k.row(s) + e);
    for (Index c = 0; c < v.width() * kLanes<T>; c += kLanes<T>)
      hn::Store(other(hn::Load(d, x.v.row(block) + c)), d, v.row(s) + c);
    for (Index lane = 0; lane < kLanes<T>; ++lane) {
      const bool sees = !causal || (lane >> bit & 1) != 0;
      visible.data()[s * kLanes<T> + lane] = sees ? x.alive.row(block)[lane ^ (Index{1} << bit)] : T(0);
    }
  }
};

// A chunk's numbers for each position and entry, [kChunk][own, then levels][lanes].
template <class T>
struct Weights {
  Index levels, step;  // vectors from one position to the next
  Buffer<T> memory;

  explicit Weights(Index shared) : levels(shared), step(kOwn + WholeTiles(shared)), memory(kChunk * step * kLanes<T>) {}
  T* at(Index i, Index entry) const { return memory.data() + (i * step + entry) * kLanes<T>; }
  Index entries() const { return kOwn + levels; }
  Lattice<T> of_levels() const { return {at(0, kOwn), step, 1}; }
  Lattice<const T> by_positions() const { return {at(0, kOwn), step, 1}; }
  Lattice<const T> by_levels() const { return {at(0, kOwn), 1, step}; }
};

// dots of rows t, t + 1 with the rows of what they see of their chunk
template <class T>
HWY_INLINE void DotPair(const ColumnPanel<T>& left, Index t, const ColumnPanel<T>& tree, const Own<T>& own, T* to,
                        Index step) {
  const Vector<T> d;
  const Index size = left.width() * kLanes<T>;
  const T *first = left.row(t), *second = left.row(t + 1);
  const T* rows[kOwn];
  hn::Vec<Vector<T>> dots[2][kOwn];
#pragma GCC unroll 4
  for (Index j = 0; j < kOwn; ++j) {
    rows[j] = tree.row(own.rows[j]);
    dots[0][j] = dots[1][j] = hn::Zero(d);
  }
  for (Index e = 0; e < size; e += kLanes<T>) {
    const auto a = hn::Load(d, first + e), b = hn::Load(d, second + e);
#pragma GCC unroll 4
    for (Index j = 0; j < kOwn; ++j) {
      const auto number = hn::Load(d, rows[j] + e);
      dots[0][j] = hn::MulAdd(a, number, dots[0][j]);
      dots[1][j] = hn::MulAdd(b, number, dots[1][j]);
    }
  }
#pragma GCC unroll 4
  for (Index j = 0; j < kOwn; ++j) {
    hn::Store(dots[0][j], d, to + j * kLanes<T>);
    hn::Store(dots[1][j], d, to + step * kLanes<T> + j * kLanes<T>);
  }
}

// Logits of a chunk; -inf for what is not seen.
template <class T>
void ChunkLogits(const Trees<T>& x, const Beside<T>& beside, bool causal, Index t, const Weights<T>& w) {
  const Vector<T> d;
  const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
  LatticeProduct<false>(kChunk, w.levels, x.q.width(), x.q.by_rows(t), beside.k.by_features(0), w.of_levels());
  for (Index i = 0; i < kChunk; i += 2) {
    const Own<T> own(x.levels, causal, t + i);
    DotPair(x.q, t + i, x.k, own, w.at(i, 0), w.step);
    for (Index one = 0; one < 2; ++one)
      for (Index j = 0; j < kOwn; ++j) {
        T* logit = w.at(i + one, j);
        const auto seen = hn::IfThenElse(x.alive.lanes(own.rows[j]), hn::Load(d, logit), nothing);
        hn::Store(own.visible[one][j] ? seen : nothing, d, logit);
      }
  }
  for (Index s = 0; s < w.levels; ++s) {
    const auto seen = beside.seen(s);
    for (Index i = 0; i < kChunk; ++i) {
      T* logit = w.at(i, kOwn + s);
      hn::Store(hn::IfThenElse(seen, hn::Load(d, logit), nothing), d, logit);
    }
  }
}

// The softmax of one position of a chunk: logits to weights relative to the largest one.
template <class T>
struct Softmax {
  hn::Vec<Vector<T>> top, total;

  Softmax(const Weights<T>& w, Index i) {
    const Vector<T> d;
    top = hn::Set(d, std::numeric_limits<T>::lowest());
    for (Index e = 0; e < w.entries(); ++e) top = hn::Max(top, hn::Load(d, w.at(i, e)));
    total = WeighColumn(w.at(i, 0), w.entries(), kLanes<T>, top);
  }
};

template <class T>
void PutLse(const Softmax<T>& softmax, const Alive<T>& alive, const Levels<T>& levels, Index t, View<T, 3> lse, Index b,
            Index h) {
  const Vector<T> d;
  HWY_ALIGN T top[kLanes<T>], total[kLanes<T>], rounded[kLanes<T>], rest[kLanes<T>];
  hn::Store(softmax.top, d, top);
  hn::Store(softmax.total, d, total);
  RoundLse(top, total, kLanes<T>, rounded, rest);
  for (Index lane = 0; lane < kLanes<T>; ++lane) {
    const Index position = lane * levels.length + t;
    if (position < levels.n)
      lse(b, h, position) = alive.row(t)[lane] > 0 ? rounded[lane] : -std::numeric_limits<T>::infinity();
  }
}

// sums[i] = share[i] (sums[i] + the weighted values that positions t, t + 1 see of their chunk)
template <class T>
HWY_INLINE void AddOwnValues(const ColumnPanel<T>& values, const Own<T>& own, const Weights<T>& w, Index i,
                             const T* shares, T* sums) {
  const Vector<T> d;
  const Index size = values.width() * kLanes<T>;
  const T* rows[kOwn];
  hn::Vec<Vector<T>> p[2][kOwn];
#pragma GCC unroll 4
  for (Index j = 0; j < kOwn; ++j) {
    rows[j] = values.row(own.rows[j]);
    p[0][j] = hn::Load(d, w.at(i, j));
    p[1][j] = hn::Load(d, w.at(i + 1, j));
  }
  const auto first = hn::Load(d, shares), second = hn::Load(d, shares + kLanes<T>);
  for (Index c = 0; c < size; c += kLanes<T>) {
    auto a = hn::Load(d, sums + c), b = hn::Load(d, sums + size + c);
#pragma GCC unroll 4
    for (Index j = 0; j < kOwn; ++j) {
      const auto number = hn::Load(d, rows[j] + c);
      a = hn::MulAdd(p[0][j], number, a);
      b = hn::MulAdd(p[1][j], number, b);
    }
    hn::Store(hn::Mul(a, first), d, sums + c);
    hn::Store(hn::Mul(b, second), d, sums + size + c);
  }
}

// Padded queries have a share of 0.
template <class T>
HWY_INLINE hn::Vec<Vector<T>> ShareOfQuery(const Softmax<T>& softmax, const Alive<T>& alive, Index t) {
  return hn::IfThenElseZero(alive.lanes(t), ShareOf<T>(softmax.total));
}

template <class T>
void SeeBlocks(const Trees<T>& x, bool causal, Index width, Index b, Index h, View<T, 4> out, View<T, 3> lse) {
  const Vector<T> d;
  const Levels<T>& levels = x.levels;
  Beside<T> beside(levels, width, out.dim(3));
  const Weights<T> w(levels.shared());
  const ColumnPanel<T> sums(kChunk, out.dim(3));
  HWY_ALIGN T shares[kChunk * kLanes<T>];
  for (Index t = 0; t < levels.length; t += kChunk) {
    beside.take(x, causal, t);
    ChunkLogits(x, beside, causal, t, w);
    for (Index i = 0; i < kChunk; ++i) {
      const Softmax<T> softmax(w, i);
      PutLse(softmax, x.alive, levels, t + i, lse, b, h);
      hn::Store(ShareOfQuery(softmax, x.alive, t + i), d, shares + i * kLanes<T>);
    }
    LatticeProduct<false>(kChunk, sums.width(), w.levels, w.by_positions(), beside.v.by_rows(0), sums.from_row(0));
    for (Index i = 0; i < kChunk; i += 2)
      AddOwnValues(x.v, Own<T>(levels, causal, t + i), w, i, shares + i * kLanes<T>, sums.row(i));
    StorePositions(sums, 0, t, kChunk, levels, T(1), out, b, h);
  }
}

// What two neighbouring queries give to the rows that they see of their chunk: factors times the queries' rows. The
// block of four is seen by two pairs; the second one adds.
template <class T>
HWY_INLINE void GiveToOwn(const ColumnPanel<T>& left, Index t, const Own<T>& own, const Weights<T>& factors, Index i,
                          const ColumnPanel<T>& grads) {
  const Vector<T> d;
  const Index size = left.width() * kLanes<T>;
  const T *first = left.row(t), *second = left.row(t + 1);
  const bool adds = (t & 2) != 0;
  T* rows[kOwn];
  hn::Vec<Vector<T>> f[2][kOwn];
#pragma GCC unroll 4
  for (Index j = 0; j < kOwn; ++j) {
    rows[j] = grads.row(own.rows[j]);
    f[0][j] = hn::Load(d, factors.at(i, j));
    f[1][j] = hn::Load(d, factors.at(i + 1, j));
  }
  if (!adds) std::fill_n(rows[kOwn - 1], size, T(0));
  for (Index e = 0; e < size; e += kLanes<T>) {
    const auto a = hn::Load(d, first + e), b = hn::Load(d, second + e);
#pragma GCC unroll 4
    for (Index j = 0; j < kOwn - 1; ++j) hn::Store(hn::MulAdd(f[0][j], a, hn::Mul(f[1][j], b)), d, rows[j] + e);
    T* last = rows[kOwn - 1] + e;
    hn::Store(hn::MulAdd(f[0][kOwn - 1], a, hn::MulAdd(f[1][kOwn - 1], b, hn::Load(d, last))), d, last);
  }
}

// Logits and dp of a chunk to p and ds.
template <class T>
void DifferentiateChunk(const Trees<T>& x, Index t, const Tensor& dlse, Index b, Index h, const Weights<T>& p,
                        const Weights<T>& ds) {
  const Vector<T> d;
  for (Index i = 0; i < kChunk; ++i) {
    const Softmax<T> softmax(p, i);
    const auto share = ShareOfQuery(softmax, x.alive, t + i);
    auto delta = hn::Zero(d);
    if (dlse.defined()) {
      HWY_ALIGN T upstream[kLanes<T>];
      for (Index lane = 0; lane < kLanes<T>; ++lane)
        upstream[lane] = x.alive.row(t + i)[lane] > 0
                             ? dlse.template view<const T, 3>()(b, h, lane * x.levels.length + t + i)
                             : T(0);
      delta = hn::Neg(hn::Load(d, upstream));
    }
    for (Index e = 0; e < p.entries(); ++e) {
      const auto weight = hn::Mul(hn::Load(d, p.at(i, e)), share);
      hn::Store(weight, d, p.at(i, e));
      delta = hn::MulAdd(weight, hn::Load(d, ds.at(i, e)), delta);
    }
    for (Index e = 0; e < p.entries(); ++e)
      hn::Store(hn::Mul(hn::Load(d, p.at(i, e)), hn::Sub(hn::Load(d, ds.at(i, e)), delta)), d, ds.at(i, e));
  }
}

// The gradient that the block beside gets of those who see it, to its row.
template <class T>
void PutBeside(const Levels<T>& levels, Index t, int level, const T* sum, Index size, const ColumnPanel<T>& grads) {
  const Vector<T> d;
  if (level < levels.height) return CopyVectors(sum, size, grads.row(levels.beside(level, t)));
  const int bit = level - levels.height;
  const Exchange<T> other(bit);
  T* to = grads.row(levels.row(level, t));
  for (Index e = 0; e < size; e += kLanes<T>) hn::Store(other(SumOfLaneBlock<T>(hn::Load(d, sum + e), bit)), d, to + e);
}

// Gradients of what all queries see: of positions and of blocks' keys and values. `dout` are positions alone.
template <class T>
void SeeBlocksGrad(const Trees<T>& x, const ColumnPanel<T>& dout, const Tensor& dlse, bool causal, Index width,
                   Index value_width, Index b, Index h, const Trees<T>& grads) {
  const Levels<T>& levels = x.levels;
  const Index count = levels.shared(), size = x.k.width() * kLanes<T>, value_size = x.v.width() * kLanes<T>;
  Beside<T> beside(levels, width, value_width);
  const Weights<T> p(count), ds(count);
  const ColumnPanel<T> dk(count, width), dv(count, value_width);
  for (Index t = 0; t < levels.length; t += kChunk) {
    beside.take(x, causal, t);
    for (Index s = 0; s < count; ++s)
      if (levels.begins(kInside + static_cast<int>(s), t)) {
        std::fill_n(dk.row(s), size, T(0));
        std::fill_n(dv.row(s), value_size, T(0));
      }
    ChunkLogits(x, beside, causal, t, p);
    LatticeProduct<false>(kChunk, count, dout.width(), dout.by_rows(t), beside.v.by_features(0), ds.of_levels());
    for (Index i = 0; i < kChunk; i += 2)
      DotPair(dout, t + i, x.v, Own<T>(levels, causal, t + i), ds.at(i, 0), ds.step);
    DifferentiateChunk(x, t, dlse, b, h, p, ds);
    LatticeProduct<false>(kChunk, x.q.width(), count, ds.by_positions(), beside.k.by_rows(0), grads.q.from_row(t));
    HWY_ALIGN T ones[2 * kLanes<T>];
    std::fill_n(ones, 2 * kLanes<T>, T(1));
    for (Index i = 0; i < kChunk; i += 2) {
      const Own<T> own(levels, causal, t + i);
      AddOwnValues(x.k, own, ds, i, ones, grads.q.row(t + i));
      GiveToOwn(x.q, t + i, own, ds, i, grads.k);
      GiveToOwn(dout, t + i, own, p, i, grads.v);
    }
    LatticeProduct<true>(count, x.k.width(), kChunk, ds.by_levels(), x.q.by_rows(t), dk.from_row(0));
    LatticeProduct<true>(count, x.v.width(), kChunk, p.by_levels(), dout.by_rows(t), dv.from_row(0));
    for (Index s = 0; s < count; ++s) {
      const int level = kInside + static_cast<int>(s);
      if (!levels.ends(level, t + kChunk)) continue;
      PutBeside(levels, t, level, dk.row(s), size, grads.k);
      PutBeside(levels, t, level, dv.row(s), value_size, grads.v);
    }
  }
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
