#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/cross_entropy/cpu.cpp"
#include "subquad/kernels/cross_entropy/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>

#include "subquad/kernels/simd/past_caches.h"
#include "subquad/kernels/simd/transpose-inl.h"
#include "subquad/kernels/softmax/exponentials-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

// Rows of few classes are shorter than a vector, or not much longer: their lanes are rows, a vector is a class of them.
inline constexpr Index kFewClasses = 64;

// Is a result of so many bytes or more written past the caches? It would push out what it is made from.
template <class T>
bool Streams(const Tensor& rows, Index bytes) {
  constexpr Index kSize = sizeof(T);
  return rows.size() * kSize >= bytes && on_whole_lines(rows.data<T>(), rows.dim(1) * kSize);
}

inline constexpr Index kInL1 = 4096;  // logits of rows that are worked on together, and as many gradients

template <class T>
struct Losses {
  Index classes;
  const T* logits;
  const std::int64_t* label;
  T *loss, *dlogits;  // dlogits may be null

  // At most a vector of rows of many classes, which stay in L1 from one loop over them to the next: what ends a row,
  // sums over lanes, a logarithm and a division, so serves all of them or waits for none. Gradients that are written
  // past the caches are made aside; meanwhile the next rows are asked for.
  template <bool kPastCaches>
  void LongRows(Index first, Index count) const {
    const hn::ScalableTag<T> d;
    constexpr Index kLanes = hn::MaxLanes(d);
    HWY_ALIGN T shifts[kLanes] = {}, sums[kLanes] = {}, own[kLanes] = {}, scales[kLanes];
    HWY_ALIGN T aside[kPastCaches ? kInL1 : 1];
    const T* rows = logits + first * classes;
    T* const gradients = kPastCaches ? aside : dlogits != nullptr ? dlogits + first * classes : nullptr;
    for (Index r = 0; r < count; ++r) shifts[r] = RowShift(d, rows + r * classes, classes);
    for (Index r = 0; r < count; ++r) {
      T* terms = gradients != nullptr ? gradients + r * classes : nullptr;
      for (Index c = 0; kPastCaches && c < classes; c += kLanes) hwy::Prefetch(rows + (count + r) * classes + c);
      sums[r] = ExponentialsOfRow(d, rows + r * classes, shifts[r], classes, terms);
      own[r] = rows[r * classes + label[first + r]] - shifts[r];
    }
    hn::Store(WriteLosses(first, count, hn::Load(d, sums), hn::Load(d, own)), d, scales);
    for (Index r = 0; gradients != nullptr && r < count; ++r) {
      if (scales[r] == 0) continue;  // the exponentials of an impossible row are the zeros it should have
      T* drow = gradients + r * classes;
      ScaleRow(d, scales[r], classes, drow);
      drow[label[first + r]] -= 1;
    }
    for (Index c = 0; kPastCaches && c < count * classes; c += kLanes)
      hn::Stream(hn::Load(d, gradients + c), d, dlogits + first * classes + c);
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
    const hn::RebindToSigned<decltype(d)> di;
    constexpr Index kLanes = hn::MaxLanes(d);
    HWY_ALIGN T columns[kFewClasses * kLanes];
    HWY_ALIGN hn::TFromD<decltype(di)> labels[kLanes];
    const T* from[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) {
      const Index b = first + std::min(lane, count - 1);
      from[lane] = logits + b * classes;
      labels[lane] = static_cast<hn::TFromD<decltype(di)>>(label[b]);
    }
    ForBlocksOfClasses(from, [&](const T* const* rows, Index c, Index some)
                                 HWY_ATTR { RowsToLanes(d, rows, some, hn::Set(d, 1), columns + c * kLanes, kLanes); });
    const auto own_class = hn::Load(di, labels);
    auto top = NoLogit(d), own = hn::Zero(d);
    for (Index c = 0; c < classes; ++c) {
      const auto logit = hn::Load(d, columns + c * kLanes);
      top = hn::Max(top, logit);
      own = hn::IfThenElse(IsClass(own_class, c), logit, own);
    }
    const auto shift = hn::IfThenZeroElse(hn::Eq(top, NoLogit(d)), top);
    auto sum = hn::Zero(d);
    Index c = 0;
    for (; c + 4 <= classes; c += 4) sum = hn::Add(sum, Exponentials<4>(columns + c * kLanes, shift));
    for (; c < classes; ++c) sum = hn::Add(sum, Exponentials<1>(columns + c * kLanes, shift));
    const auto scale = WriteLosses(first, count, sum, hn::Sub(own, shift));
    if (dlogits != nullptr) Gradients(first, count, columns, own_class, scale);
  }

  // Of some vectors less the shift, in place, side by side; returns their sum.
  template <int kCount>
  HWY_INLINE static hn::Vec<hn::ScalableTag<T>> Exponentials(T* columns, hn::Vec<hn::ScalableTag<T>> shift) {
    const hn::ScalableTag<T> d;
    constexpr Index kLanes = hn::MaxLanes(d);
    hn::Vec<decltype(d)> e[kCount];
    for (int i = 0; i < kCount; ++i)
      e[i] = hn::Mul(hn::Sub(hn::Load(d, columns + i * kLanes), shift), hn::Set(d, std::numbers::log2e_v<T>));
    Exp2OfEach<kCount>(d, e);
    for (int i = 0; i < kCount; ++i) hn::Store(e[i], d, columns + i * kLanes);
    for (int half = kCount / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) e[i] = hn::Add(e[i], e[i + half]);
    return e[0];
  }

  using ClassOfLanes = hn::Vec<hn::RebindToSigned<hn::ScalableTag<T>>>;

  HWY_INLINE static hn::Mask<hn::ScalableTag<T>> IsClass(ClassOfLanes own_class, Index c) {
    const hn::RebindToSigned<hn::ScalableTag<T>> di;
    const auto is_own = hn::Eq(own_class, hn::Set(di, static_cast<hn::TFromD<decltype(di)>>(c)));
    return hn::RebindMask(hn::ScalableTag<T>(), is_own);
  }

  // Of exponentials, in place, and to rows. The exponentials of an impossible row are the zeros it should have.
  HWY_INLINE void Gradients(Index first, Index count, T* columns, ClassOfLanes own_class,
                            hn::Vec<hn::ScalableTag<T>> scale) const {
    const hn::ScalableTag<T> d;
    constexpr Index kLanes = hn::MaxLanes(d);
    const auto one = hn::IfThenZeroElse(hn::Eq(scale, hn::Zero(d)), hn::Set(d, T(1)));
    for (Index c = 0; c < classes; ++c) {
      const auto taken = hn::IfThenElseZero(IsClass(own_class, c), one);
      const auto probability = hn::Mul(hn::Load(d, columns + c * kLanes), scale);
      hn::Store(hn::Sub(probability, taken), d, columns + c * kLanes);
    }
    T* to[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) to[lane] = dlogits + (first + std::min(lane, count - 1)) * classes;
    ForBlocksOfClasses(to, [&](T* const* rows, Index c, Index some) HWY_ATTR {
      LanesToRows(d, columns + c * kLanes, kLanes, some, hn::Set(d, T(1)), rows);
    });
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
  constexpr Index kLanes = hn::MaxLanes(hn::ScalableTag<T>()), kBlocks = 16;  // of a task
  const bool few = classes > 0 && classes <= kFewClasses;
  const Losses<T> rows = {classes, logits.data<T>(), labels.data<std::int64_t>(), losses.data<T>(),
                          dlogits.defined() ? dlogits.data<T>() : nullptr};
  const Index block = few ? kLanes : std::clamp<Index>(kInL1 / std::max<Index>(classes, 1), 1, kLanes);
  const bool past_caches = !few && classes <= kInL1 && dlogits.defined() && Streams<T>(dlogits, kLastCache);
  parallel_chunks(logits.dim(0), kBlocks * kLanes, classes * 8, [&](Index begin, Index end) HWY_ATTR {
    for (Index first = begin; first < end; first += block) {
      const Index count = std::min(block, end - first);
      few           ? rows.Block(first, count)
      : past_caches ? rows.template LongRows<true>(first, count)
                    : rows.template LongRows<false>(first, count);
    }
    if (past_caches) hwy::FlushStream();
  });
}

void CrossEntropy(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  visit_float("cross_entropy", logits.dtype(),
              [&]<class T>(Type<T>) { CrossEntropyRows<T>(logits, labels, losses, dlogits); });
}

template <bool kPastCaches, class T>
HWY_INLINE void ScaleRow(const T* factor, const T* row, Index width, T* out) {
  const hn::ScalableTag<T> d;
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    const auto scaled = hn::Mul(hn::Set(d, *factor), lanes.Load(row + c));
    if constexpr (kPastCaches)
      hn::Stream(scaled, d, out + c);
    else
      lanes.Store(scaled, out + c);
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
  const bool few = width <= kFewClasses, past_caches = !few && Streams<T>(out, kLastCache / 4);
  for (Index i = 0; few && i < width * kLanes; ++i) row_of[i] = static_cast<Lane>(i / width);
  const Index chunk = few ? 16 * kLanes : std::max<Index>(1, 16384 / width);
  parallel_chunks(rows.dim(0), chunk, std::max<Index>(width, 1), [&](Index begin, Index end) HWY_ATTR {
    Index b = begin;
    for (; few && b + kLanes <= end; b += kLanes) {
      const auto some = hn::LoadU(d, factor + b);
      for (Index i = 0; i < width * kLanes; i += kLanes) {
        const auto picked = hn::TableLookupLanes(some, hn::SetTableIndices(d, row_of + i));
        hn::StoreU(hn::Mul(picked, hn::LoadU(d, from + b * width + i)), d, to + b * width + i);
      }
    }
    for (; past_caches && b < end; ++b) ScaleRow<true>(factor + b, from + b * width, width, to + b * width);
    for (; b < end; ++b) ScaleRow<false>(factor + b, from + b * width, width, to + b * width);
    if (past_caches) hwy::FlushStream();
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
  const Index samples = labels.size();
  for (Index b = 0; b < samples; ++b)
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
