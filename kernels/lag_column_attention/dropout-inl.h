// The dropout of lag-column attention's probabilities, a strip of queries at a time. What a query's probability at a
// lag or a column is multiplied by is drawn where it is needed, by forward and by both walks of backward.
#if defined(SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_DROPOUT_INL_H_
#undef SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_DROPOUT_INL_H_
#else
#define SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_DROPOUT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <optional>

#include "subquad/kernels/attention/strip-inl.h"
#include "subquad/kernels/dropout/keep-inl.h"
#include "subquad/kernels/lag_column_attention/lag_column_attention.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// The dropout of one head of a sample that has n positions.
struct HeadDropout {
  const std::optional<cpu::Keep>& keep;
  Index b, h, heads, n;

  bool active() const { return keep.has_value(); }
};

inline std::optional<cpu::Keep> KeepOf(const LagColumnOptions& options) {
  if (options.dropout == 0) return std::nullopt;
  return cpu::Keep(options.dropout, options.random);
}

// The bits of lags stand in even rows, those of columns in odd ones.
inline Index LagBits(Index lag) {
  return 2 * lag;
}
inline Index ColumnBits(Index column) {
  return 2 * column + 1;
}

// What the probabilities of queries (first + lane) mod n, 0 <= first < n, are multiplied by. Where n is less than a
// strip, lanes beyond n hold no query's factor.
template <class T>
class StripFactors {
 public:
  HWY_INLINE StripFactors(const HeadDropout& dropout, Index bits, Index first) : skipped_(first % kWords) {
    static_assert(kWords - 1 + kStrip<T> <= kKeepBlock);
    const Index position = bits * dropout.heads + dropout.h, ahead = dropout.n - first;
    KeepFactors(*dropout.keep, dropout.b, position, first - skipped_, skipped_ + kStrip<T>, drawn_);
    if (ahead >= kStrip<T>) return;
    HWY_ALIGN T wrapped[kKeepBlock];
    KeepFactors(*dropout.keep, dropout.b, position, 0, kStrip<T> - ahead, wrapped);
    std::copy_n(wrapped, kStrip<T> - ahead, drawn_ + skipped_ + ahead);
  }

  // row[lane] *= the lane's factor
  HWY_INLINE void apply(T* row) const {
    const Vector<T> d;
    for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>)
      hn::Store(hn::Mul(hn::Load(d, row + lane), hn::LoadU(d, drawn_ + skipped_ + lane)), d, row + lane);
  }

 private:
  static constexpr Index kWords = 4;  // that are drawn together

  Index skipped_;
  HWY_ALIGN T drawn_[kKeepBlock];
};

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
