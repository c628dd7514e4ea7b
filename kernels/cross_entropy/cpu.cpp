#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/cross_entropy/cpu.cpp"
#include "subquad/kernels/cross_entropy/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <hwy/contrib/math/math-inl.h>

#include "subquad/kernels/simd/transpose-inl.h"
#include "subquad/kernels/softmax/exponentials-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

// Rows of few classes are shorter than a vector, or not much longer: their lanes are rows, a vector is a class of them.
inline constexpr Index kFewClasses = 64;

template <class T>
struct Losses {
  Index classes;
  const T* logits;
  const std::int64_t* label;
  T *loss, *dlogits;  // dlogits may be null

  // At most a vector of rows of many classes, which stay in L1 from one loop over them to the next: what ends a row,
  // sums over lanes, a logarithm and a division, so serves all of them or waits for none.
  void LongRows(Index first, Index count) const {
    const hn::ScalableTag<T> d;
    constexpr Index kLanes = hn::MaxLanes(d);
    HWY_ALIGN T shifts[kLanes] = {}, sums[kLanes] = {}, own[kLanes] = {}, scales[kLanes];
    const T* rows = logits + first * classes;
    for (Index r = 0; r < count; ++r) shifts[r] = RowShift(d, rows + r * classes, classes);
    for (Index r = 0; r < count; ++r) {
      T* terms = dlogits != nullptr ? dlogits + (first + r) * classes : nullptr;
      sums[r] = ExponentialsOfRow(d, rows + r * classes, shifts[r], classes, terms);
      own[r] = rows[r * classes + label[first + r]] - shifts[r];
    }
    hn::Store(WriteLosses(first, count, hn::Load(d, sums), hn::Load(d, own)), d, scales);
    for (Index r = 0; dlogits != nullptr && r < count; ++r) {
      if (scales[r] == 0) continue;  // the exponentials of an impossible row are the zeros it should have
      T* drow = dlogits + (first + r) * classes;
      ScaleRow(d, scales[r], classes, drow);
      drow[label[first + r]] -= 1;
    }
  }

  // Of a vector of rows, with their sums of exponentials and their own logits, both less the shift. Returns what the
  // exponentials are scaled by: 1 / sum, or 0 where every logit is -inf.
  HWY_INLINE hn::Vec<hn::ScalableTag<T>> WriteLosses(Index first, Index count, hn::Vec<hn::ScalableTag<T>> sum,
                                                     hn::Vec<hn::ScalableTag<T>> own) const {
    const hn::ScalableTag<T> d;
    const auto impossible = hn::Eq(sum, hn::Zero(d));
    const auto log_sum = hn::IfThenElse(hn::Eq(sum, sum), hn::Log(d, sum), sum);
    const auto infinite = hn::Set(d, std::numeric_limits<T>::infinity());
    const auto there = hn::FirstN(d, static_cast<std::size_t>(count));
    hn::BlendedStore(hn::IfThenElse(impossible, infinite, hn::Sub(log_sum, own)), there, d, loss + first);
    return hn::IfThenZeroElse(impossible, hn::Div(hn::Set(d, 1), sum));
  }

  // A vector of rows of few classes; where there are fewer rows, the last lanes do the last row again.
  void Block(Index first, Index count) const {
    const hn::ScalableTag<T> d;
    constexpr Index kLanes = hn::MaxLanes(d);
    HWY_ALIGN T columns[kFewClasses * kLanes], own[kLanes];
    const T* from[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) {
      const Index b = first + std::min(lane, count - 1);
      from[lane] = logits + b * classes;
      own[lane] = from[lane][label[b]];
    }
    ForBlocksOfClasses(from, [&](const T* const* rows, Index c, Index some)
                                 HWY_ATTR { RowsToLanes(d, rows, some, hn::Set(d, 1), columns + c * kLanes, kLanes); });
    const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
    auto top = nothing;
    for (Index c = 0; c < classes; ++c) top = hn::Max(top, hn::Load(d, columns + c * kLanes));
    const auto shift = hn::IfThenZeroElse(hn::Eq(top, nothing), top);
    auto sum = hn::Zero(d);
    for (Index c = 0; c < classes; ++c) {
      const auto above = hn::Sub(hn::Load(d, columns + c * kLanes), shift);
      const auto e = Exp2(d, hn::Mul(above, hn::Set(d, std::numbers::log2e_v<T>)));
      hn::Store(e, d, columns + c * kLanes);
      sum = hn::Add(sum, e);
    }
    const auto scale = WriteLosses(first, count, sum, hn::Sub(hn::Load(d, own), shift));
    if (dlogits != nullptr) Gradients(first, count, columns, scale);
  }

  HWY_INLINE void Gradients(Index first, Index count, const T* exponentials, hn::Vec<hn::ScalableTag<T>> scale) const {
    const hn::ScalableTag<T> d;
    constexpr Index kLanes = hn::MaxLanes(d);
    T* to[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) to[lane] = dlogits + (first + std::min(lane, count - 1)) * classes;
    ForBlocksOfClasses(to, [&](T* const* rows, Index c, Index some)
                               HWY_ATTR { LanesToRows(d, exponentials + c * kLanes, kLanes, some, scale, rows); });
    HWY_ALIGN T scales[kLanes];
    hn::Store(scale, d, scales);
    for (Index lane = 0; lane < count; ++lane)
      if (scales[lane] != 0) to[lane][label[first + lane]] -= 1;
  }

  // f(rows from class c on, c, how many classes): whole blocks of a transposition as far as they go, then once more the
  // last block of classes, which overlaps them.
  template <class Pointer, class F>
  HWY_INLINE void ForBlocksOfClasses(Pointer* rows, const F& f) const {
    constexpr Index kLanes = hn::MaxLanes(hn::ScalableTag<T>()), kBlock = kPerBlock<T>;
    const Index whole = classes < kBlock ? classes : classes / kBlock * kBlock;
    f(rows, Index(0), whole);
    if (whole == classes) return;
    Pointer last[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) last[lane] = rows[lane] + classes - kBlock;
    f(static_cast<Pointer*>(last), classes - kBlock, kBlock);
  }
};

template <class T>
void CrossEntropyRows(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  const Index classes = logits.dim(1);
  const Losses<T> rows = {classes, logits.data<T>(), labels.data<std::int64_t>(), losses.data<T>(),
                          dlogits.defined() ? dlogits.data<T>() : nullptr};
  constexpr Index kLanes = hn::MaxLanes(hn::ScalableTag<T>()), kBlocks = 16;  // of a task
  const bool few = classes > 0 && classes <= kFewClasses;
  constexpr Index kInL1 = 4096;  // logits, and as many gradients
  const Index block = few ? kLanes : std::clamp<Index>(kInL1 / std::max<Index>(classes, 1), 1, kLanes);
  parallel_chunks(logits.dim(0), kBlocks * kLanes, classes * 8, [&](Index begin, Index end) HWY_ATTR {
    for (Index first = begin; first < end; first += block) {
      const Index count = std::min(block, end - first);
      few ? rows.Block(first, count) : rows.LongRows(first, count);
    }
  });
}

void CrossEntropy(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  visit_float("cross_entropy", logits.dtype(),
              [&]<class T>(Type<T>) { CrossEntropyRows<T>(logits, labels, losses, dlogits); });
}

template <class T>
void ScaleRow(const T* factor, const T* row, Index width, T* out) {
  const hn::ScalableTag<T> d;
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    lanes.Store(hn::Mul(hn::Set(d, *factor), lanes.Load(row + c)), out + c);
  });
}

// For few classes a vector of rows is `width` vectors of numbers, whose lanes pick their row's factor.
template <class T>
void ScaleRows(const Tensor& factors, const Tensor& rows, Tensor& out) {
  const hn::ScalableTag<T> d;
  using Lane = hn::TFromD<hn::RebindToSigned<decltype(d)>>;
  constexpr Index kLanes = hn::MaxLanes(d);
  const Index width = rows.dim(1);
  const T *factor = factors.data<T>(), *from = rows.data<T>();
  T* to = out.data<T>();
  HWY_ALIGN Lane row_of[kFewClasses * kLanes];
  const bool few = width <= kFewClasses;
  for (Index i = 0; few && i < width * kLanes; ++i) row_of[i] = static_cast<Lane>(i / width);
  parallel_chunks(rows.dim(0), few ? 16 * kLanes : 1, std::max<Index>(width, 1), [&](Index begin, Index end) HWY_ATTR {
    Index b = begin;
    for (; few && b + kLanes <= end; b += kLanes) {
      const auto some = hn::LoadU(d, factor + b);
      for (Index i = 0; i < width * kLanes; i += kLanes) {
        const auto picked = hn::TableLookupLanes(some, hn::SetTableIndices(d, row_of + i));
        hn::StoreU(hn::Mul(picked, hn::LoadU(d, from + b * width + i)), d, to + b * width + i);
      }
    }
    for (; b < end; ++b) ScaleRow(factor + b, from + b * width, width, to + b * width);
  });
}

void CrossEntropyGrad(const Tensor& dlosses, const Tensor& dlogits, Tensor& dx) {
  visit_float("cross_entropy_grad", dlogits.dtype(), [&]<class T>(Type<T>) { ScaleRows<T>(dlosses, dlogits, dx); });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(CrossEntropy);
HWY_EXPORT(CrossEntropyGrad);

namespace cpu {
namespace {

void check_labels(const Tensor& labels, Index classes) {
  const std::int64_t* label = labels.data<std::int64_t>();
  for (Index b = 0; b < labels.size(); ++b)
    if (label[b] < 0 || label[b] >= classes)
      throw Error(cat("cross_entropy: label ", label[b], " of sample ", b, " is outside [0, ", classes, ")"));
}

}  // namespace

void cross_entropy(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  check_labels(labels, logits.dim(1));
  SUBQUAD_DISPATCH(CrossEntropy)(logits, labels, losses, dlogits);
}

void cross_entropy_grad(const Tensor& dlosses, const Tensor& dlogits, Tensor& dx) {
  SUBQUAD_DISPATCH(CrossEntropyGrad)(dlosses, dlogits, dx);
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
