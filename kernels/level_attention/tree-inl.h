// Trees of aligned blocks, a vector's lanes side by side: what the two parts of level_attention share. Include inside
// the per-target part of a kernel. Lane r stands for positions r * length, r * length + 1, ...; a tree is a panel
// [rows][features][lanes] whose rows are
//
//   the positions of a lane, then its blocks of 2, of 4, ..., of `length` positions, then, one row for each level,
//   blocks of 2, 4, ... lanes, which all of their lanes hold.
#if defined(SUBQUAD_KERNELS_LEVEL_ATTENTION_TREE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_LEVEL_ATTENTION_TREE_INL_H_
#undef SUBQUAD_KERNELS_LEVEL_ATTENTION_TREE_INL_H_
#else
#define SUBQUAD_KERNELS_LEVEL_ATTENTION_TREE_INL_H_
#endif

#include <bit>
#include <limits>

#include "subquad/kernels/block_attention/columns-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// Positions of a lane that go together, and their level: blocks above it are the same for all of them.
inline constexpr int kInside = 3;
inline constexpr Index kChunk = Index{1} << kInside;

template <class T>
struct Levels {
  Index n;       // positions
  Index length;  // of a lane: a power of two
  int height;    // the level of blocks that are a lane
  int across;    // levels from one lane to all of them

  explicit Levels(Index positions)
      : n(positions),
        length(std::max<Index>(kChunk, static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(n))) / kLanes<T>)),
        height(std::countr_zero(static_cast<std::uint64_t>(length))),
        across(std::countr_zero(static_cast<std::uint64_t>(kLanes<T>))) {}

  // The block of a level that position t of each lane is in; level 0: that position.
  Index row(int level, Index t) const {
    if (level > height) return 2 * length - 2 + level - height;
    return 2 * length - (2 * length >> level) + (t >> level);
  }
  Index beside(int level, Index t) const { return row(level, t ^ (Index{1} << level)); }  // below `height`
  Index rows() const { return row(height + std::max(across, 1) - 1, 0) + 1; }
  int top() const { return height + across - 1; }                    // the highest level that has a block beside it
  Index shared() const { return std::max(0, top() - kInside + 1); }  // levels kInside ... top
  bool begins(int level, Index t) const { return t % (Index{1} << std::min(level, height)) == 0; }
  bool ends(int level, Index t) const { return begins(level, t); }  // with what is before t
};

// Every lane gets what the one 2^bit away has.
template <class T>
class Exchange {
  using D = Vector<T>;
  using Number = hwy::MakeSigned<T>;

 public:
  explicit Exchange(int bit) {
    for (Index lane = 0; lane < kLanes<T>; ++lane)
      numbers_[lane] = static_cast<Number>((lane ^ (Index{1} << bit)) % kLanes<T>);
  }
  HWY_INLINE hn::Vec<D> operator()(hn::Vec<D> v) const {
    return hn::TableLookupLanes(v, hn::SetTableIndices(D(), numbers_));
  }

 private:
  HWY_ALIGN Number numbers_[kLanes<T>];
};

// The sum over the 2^count lanes of a block, in each of them.
template <class T>
HWY_INLINE hn::Vec<Vector<T>> SumOfLaneBlock(hn::Vec<Vector<T>> v, int count) {
  for (int bit = 0; bit < count; ++bit) v = hn::Add(v, Exchange<T>(bit)(v));
  return v;
}

// Which positions and blocks hold a real token: a number for each lane, 1 or 0.
template <class T>
class Alive {
 public:
  Alive(const Levels<T>& levels, const bool* real) : rows_(levels.rows() * kLanes<T>) {
    const Vector<T> d;
    for (Index t = 0; t < levels.length; ++t)
      for (Index lane = 0; lane < kLanes<T>; ++lane) {
        const Index i = lane * levels.length + t;
        row(t)[lane] = i < levels.n && (real == nullptr || real[i]) ? T(1) : T(0);
      }
    for (int level = 1; level <= levels.height; ++level)
      for (Index t = 0; t < levels.length; t += Index{1} << level) {
        const T* from = row(levels.row(level - 1, t));
        hn::Store(hn::Max(hn::Load(d, from), hn::Load(d, from + kLanes<T>)), d, row(levels.row(level, t)));
      }
    for (int level = levels.height + 1; level <= levels.top(); ++level) {
      const auto half = hn::Load(d, row(levels.row(level - 1, 0)));
      hn::Store(hn::Max(half, Exchange<T>(level - levels.height - 1)(half)), d, row(levels.row(level, 0)));
    }
  }
  T* row(Index r) const { return rows_.data() + r * kLanes<T>; }
  HWY_INLINE hn::Mask<Vector<T>> lanes(Index r) const {
    return hn::Gt(hn::Load(Vector<T>(), row(r)), hn::Zero(Vector<T>()));
  }

 private:
  Buffer<T> rows_;
};

// Asks for the chunk that comes next, two lanes' rows at a position: lanes stand so far apart that a processor sees no
// order in reading them side by side, but it does along a lane.
template <class T>
HWY_INLINE void FetchNextChunk(View<const T, 4> x, Index b, Index h, const Levels<T>& levels, Index t) {
  constexpr Index kTogether = (kLanes<T> + kChunk - 1) / kChunk;
  const Index next = (t / kChunk + 1) * kChunk;
  if (next >= levels.length) return;
  const Index first = t % kChunk * kTogether;
  for (Index lane = first; lane < std::min(first + kTogether, kLanes<T>); ++lane) {
    const T* row = x.data() + b * x.stride(0) + h * x.stride(1) + (lane * levels.length + next) * x.stride(2);
    for (Index i = 0; i < kChunk; ++i) FetchAhead(row, i * x.stride(2), x.dim(3));
  }
}

// The positions' rows of x, scaled; zeros for those that are not real.
template <class T>
void LoadPositions(View<const T, 4> x, Index b, Index h, const Levels<T>& levels, const bool* real, T scale,
                   const ColumnPanel<T>& tree) {
  const Vector<T> d;
  Buffer<T> zeros(x.dim(3));
  zeros.zero();
  for (Index t = 0; t < levels.length; ++t) {
    FetchNextChunk(x, b, h, levels, t);
    const T* from[kLanes<T>];
    for (Index lane = 0; lane < kLanes<T>; ++lane) {
      const Index i = lane * levels.length + t;
      from[lane] = i < levels.n && (real == nullptr || real[i]) ? &x(b, h, i, 0) : zeros.data();
    }
    TurnRowsOver(d, from, x.dim(3), hn::Set(d, scale), tree.row(t));
  }
}

// `count` positions from t on, in the rows of a panel from `first` on, to rows of x, scaled.
template <class T>
void StorePositions(const ColumnPanel<T>& panel, Index first, Index t, Index count, const Levels<T>& levels, T scale,
                    View<T, 4> x, Index b, Index h) {
  const Vector<T> d;
  for (Index i = 0; i < count; ++i)
    TurnColumnsOver(d, panel.row(first + i), x.dim(3), [&](Index lane, Index c, auto part, auto numbers) HWY_ATTR {
      const Index position = lane * levels.length + t + i;
      if (position < levels.n) part.Store(hn::Mul(numbers, hn::Set(d, scale)), &x(b, h, position, c));
    });
}

// A number of a tree as maxima are taken of it: positions that are not real lose against all others.
template <class T>
HWY_INLINE hn::Vec<Vector<T>> Candidate(hn::Mask<Vector<T>> alive, const T* number) {
  const Vector<T> d;
  return hn::IfThenElse(alive, hn::Load(d, number), hn::Set(d, std::numeric_limits<T>::lowest()));
}

// Blocks are the maxima of their halves.
template <class T>
void PoolBlocks(const Levels<T>& levels, const Alive<T>& alive, const ColumnPanel<T>& tree) {
  const Vector<T> d;
  const Index size = tree.width() * kLanes<T>;
  for (int level = 1; level <= levels.height; ++level)
    for (Index t = 0; t < levels.length; t += Index{1} << level) {
      const Index half = levels.row(level - 1, t);
      const T *left = tree.row(half), *right = tree.row(half + 1);
      T* to = tree.row(levels.row(level, t));
      const auto left_alive = alive.lanes(half), right_alive = alive.lanes(half + 1);
      for (Index e = 0; e < size; e += kLanes<T>)
        hn::Store(hn::Max(Candidate(left_alive, left + e), Candidate(right_alive, right + e)), d, to + e);
    }
  for (int level = levels.height + 1; level <= levels.top(); ++level) {
    const Exchange<T> other(level - levels.height - 1);
    const T* own = tree.row(levels.row(level - 1, 0));
    T* to = tree.row(levels.row(level, 0));
    for (Index e = 0; e < size; e += kLanes<T>) {
      const auto half = hn::Load(d, own + e);
      hn::Store(hn::Max(half, other(half)), d, to + e);
    }
  }
}

// The gradient of a block is added to that of the half that has its maximum, the first one of equals: from the highest
// level down to the positions.
template <class T>
void UnpoolBlocks(const Levels<T>& levels, const Alive<T>& alive, const ColumnPanel<T>& tree,
                  const ColumnPanel<T>& grads) {
  const Vector<T> d;
  const Index size = tree.width() * kLanes<T>;
  for (int level = levels.top(); level > levels.height; --level) {
    const int bit = level - levels.height - 1;
    const Exchange<T> other(bit);
    HWY_ALIGN T second[kLanes<T>];  // of two halves?
    for (Index lane = 0; lane < kLanes<T>; ++lane) second[lane] = static_cast<T>(lane >> bit & 1);
    const auto is_second = hn::Gt(hn::Load(d, second), hn::Zero(d));
    const Index half = levels.row(level - 1, 0);
    const T *own = tree.row(half), *from = grads.row(levels.row(level, 0));
    T* to = grads.row(half);
    for (Index e = 0; e < size; e += kLanes<T>) {
      const auto mine = hn::Load(d, own + e), theirs = other(mine);
      const auto wins = hn::Or(hn::Gt(mine, theirs), hn::AndNot(is_second, hn::Eq(mine, theirs)));
      hn::Store(hn::Add(hn::Load(d, to + e), hn::IfThenElseZero(wins, hn::Load(d, from + e))), d, to + e);
    }
  }
  for (int level = levels.height; level > 0; --level)
    for (Index t = 0; t < levels.length; t += Index{1} << level) {
      const Index half = levels.row(level - 1, t);
      const T *left = tree.row(half), *right = tree.row(half + 1), *from = grads.row(levels.row(level, t));
      T *to_left = grads.row(half), *to_right = grads.row(half + 1);
      const auto left_alive = alive.lanes(half), right_alive = alive.lanes(half + 1);
      for (Index e = 0; e < size; e += kLanes<T>) {
        const auto right_wins = hn::Lt(Candidate(left_alive, left + e), Candidate(right_alive, right + e));
        const auto up = hn::Load(d, from + e);
        hn::Store(hn::Add(hn::Load(d, to_left + e), hn::IfThenZeroElse(right_wins, up)), d, to_left + e);
        hn::Store(hn::Add(hn::Load(d, to_right + e), hn::IfThenElseZero(right_wins, up)), d, to_right + e);
      }
    }
}

template <class T>
HWY_INLINE void CopyVectors(const T* from, Index size, T* to) {
  const Vector<T> d;
  for (Index e = 0; e < size; e += kLanes<T>) hn::Store(hn::Load(d, from + e), d, to + e);
}

// column[i] = e^(column[i] - top) for `count` vectors `step` apart; returns their sum.
template <class T>
HWY_INLINE hn::Vec<Vector<T>> WeighColumn(T* column, Index count, Index step, hn::Vec<Vector<T>> top) {
  const Vector<T> d;
  auto sum = hn::Zero(d);
  const auto weigh = [&]<int kCount>(std::integral_constant<int, kCount>, T* from) HWY_ATTR {
    hn::Vec<Vector<T>> p[kCount];
#pragma GCC unroll 8
    for (Index i = 0; i < kCount; ++i) p[i] = hn::Mul(hn::Sub(hn::Load(d, from + i * step), top), Log2E(d));
    Exp2OfEach<kCount>(d, p);
#pragma GCC unroll 8
    for (Index i = 0; i < kCount; ++i) {
      hn::Store(p[i], d, from + i * step);
      sum = hn::Add(sum, p[i]);
    }
  };
  Index i = 0;
  for (; i + 4 <= count; i += 4) weigh(std::integral_constant<int, 4>(), column + i * step);
  for (; i < count; ++i) weigh(std::integral_constant<int, 1>(), column + i * step);
  return sum;
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
