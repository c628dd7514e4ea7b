#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/segment_mean/cpu.cpp"
#include "subquad/kernels/segment_mean/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <vector>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// Segment number j of sample b: its positions, those of them that are real, and what their sum is divided by.
class Segment {
 public:
  Segment(const Tensor& starts, const Mask& mask, MeanDivisor divisor, Index b, Index j)
      : begin_(starts.data<Index>()[b * starts.dim(1) + j]),
        end_(starts.data<Index>()[b * starts.dim(1) + j + 1]),
        real_(mask.defined() ? mask.real.data<bool>() + b * mask.real.dim(1) : nullptr) {
    Index count = 0;
    for (Index i = begin_; i < end_; ++i) count += is_real(i) ? 1 : 0;
    empty_ = count == 0;
    divisor_ = static_cast<double>(divisor == MeanDivisor::real ? count : end_ - begin_);
  }

  Index begin() const { return begin_; }
  Index end() const { return end_; }
  bool is_real(Index i) const { return real_ == nullptr || real_[i]; }
  bool empty() const { return empty_; }  // no real position
  double divisor() const { return divisor_; }

 private:
  Index begin_, end_;
  const bool* real_;
  bool empty_;
  double divisor_;
};

// V vectors of features: the sum of a segment's real rows over the divisor. The first row stands at `rows`.
template <int V, class Lanes, class D, class T = hn::TFromD<D>>
HWY_INLINE void MeanOf(D d, const Lanes& lanes, const Segment& segment, const T* rows, Index step, T* mean) {
  constexpr Index kLanes = hn::MaxLanes(d);
  hn::Vec<D> sum[V];
  for (auto& part : sum) part = hn::Zero(d);
  for (Index i = segment.begin(); i < segment.end(); ++i, rows += step)
    if (segment.is_real(i))
      for (int v = 0; v < V; ++v) sum[v] = hn::Add(sum[v], lanes.Load(rows + v * kLanes));
  const auto divisor = hn::Set(d, segment.empty() ? T(1) : static_cast<T>(segment.divisor()));
  for (int v = 0; v < V; ++v) lanes.Store(hn::Div(sum[v], divisor), mean + v * kLanes);
}

template <class D, class T = hn::TFromD<D>>
void MeanRow(D d, const Segment& segment, const T* rows, Index step, Index width, T* mean) {
  constexpr Index kLanes = hn::MaxLanes(d);
  Index c = 0;
  for (; c + 4 * kLanes <= width; c += 4 * kLanes) MeanOf<4>(d, WholeVector<D>(), segment, rows + c, step, mean + c);
  for (; c + 2 * kLanes <= width; c += 2 * kLanes) MeanOf<2>(d, WholeVector<D>(), segment, rows + c, step, mean + c);
  ForVectors(d, width - c,
             [&](Index i, auto lanes) HWY_ATTR { MeanOf<1>(d, lanes, segment, rows + c + i, step, mean + c + i); });
}

// f(segment, b, where the mean of head 0 stands in [B, H, S, C]) for all of them; they cover every position. All
// heads of a segment are one task: their rows share pages, and often lie side by side.
template <class F>
void ForSegments(const Shape& means, Index positions, const Tensor& starts, const Mask& mask, MeanDivisor divisor,
                 const F& f) {
  const Index heads = means[1], segments = means[2], width = means[3];
  const Index work = (positions / std::max<Index>(segments, 1) + 1) * heads * width;
  parallel_for(means[0] * segments, work, [&](Index task) {
    const Index b = task / segments, j = task % segments;
    f(Segment(starts, mask, divisor, b, j), b, (b * heads * segments + j) * width);
  });
}

// Asks for a row that is read soon: rows of several tensors in turn are more than a processor foresees.
template <class T>
HWY_INLINE void FetchAhead(View<T, 4> x, Index b, Index h, Index i) {
  constexpr Index kAhead = 16;
  const T* row = &x(b, h, i, 0) + kAhead * x.stride(2);
  for (Index c = 0; c < x.dim(3); c += static_cast<Index>(kAlignment / sizeof(T))) hwy::Prefetch(row + c);
}

// dx rows of a segment: the share of the mean at real positions (`shares` of head 0, the next head's `to_head` behind;
// null is none), then every use.
template <class T>
class Spread {
 public:
  Spread(const std::vector<Tensor>& uses, Tensor& dx) : dx_(dx.view<T, 4>()) {
    for (const Tensor& use : uses) uses_.push_back(use.view<const T, 4>());
  }

  void operator()(const Segment& segment, Index b, const T* shares, Index to_head) const {
    for (Index i = segment.begin(); i < segment.end(); ++i)
      for (Index h = 0; h < dx_.dim(1); ++h)
        put_row(segment, b, h, i, shares != nullptr && segment.is_real(i) ? shares + h * to_head : nullptr);
  }

 private:
  HWY_INLINE void put_row(const Segment& segment, Index b, Index h, Index i, const T* share) const {
    const hn::ScalableTag<T> d;
    const auto divisor = hn::Set(d, segment.empty() ? T(1) : static_cast<T>(segment.divisor()));
    for (const View<const T, 4>& use : uses_) FetchAhead(use, b, h, i);
    T* to = &dx_(b, h, i, 0);
    ForVectors(d, dx_.dim(3), [&](Index c, auto lanes) HWY_ATTR {
      auto sum = share != nullptr ? hn::Div(lanes.Load(share + c), divisor) : hn::Zero(d);
      for (const View<const T, 4>& use : uses_) sum = hn::Add(sum, lanes.Load(&use(b, h, i, c)));
      lanes.Store(sum, to + c);
    });
  }

  std::vector<View<const T, 4>> uses_;
  View<T, 4> dx_;
};

void SegmentMean(const Tensor& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& out) {
  if (out.size() == 0) return;
  visit_float("segment_mean", x.dtype(), [&]<class T>(Type<T>) {
    const auto from = x.view<const T, 4>();
    T* means = out.data<T>();
    const Index to_head = out.dim(2) * out.dim(3);
    const auto one = [&](const Segment& segment, Index b, Index to) HWY_ATTR {
      for (Index h = 0; h < from.dim(1); ++h) {
        const T* first = segment.begin() < segment.end() ? &from(b, h, segment.begin(), 0) : nullptr;
        MeanRow(hn::ScalableTag<T>(), segment, first, from.stride(2), from.dim(3), means + to + h * to_head);
      }
    };
    ForSegments(out.shape(), x.dim(2), starts, mask, divisor, one);
  });
}

void SegmentMeanGrad(const MeanGrad& grad, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& dx) {
  if (dx.size() == 0) return;
  visit_float("segment_mean_grad", dx.dtype(), [&]<class T>(Type<T>) {
    const Spread<T> spread(grad.uses, dx);
    const T* shares = grad.dout.defined() ? grad.dout.data<T>() : nullptr;
    const Index segments = starts.dim(1) - 1;
    const auto one = [&](const Segment& segment, Index b, Index from) HWY_ATTR {
      spread(segment, b, shares == nullptr ? nullptr : shares + from, segments * dx.dim(3));
    };
    ForSegments(dx.shape().with(2, segments), dx.dim(2), starts, mask, divisor, one);
  });
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(SegmentMean);
HWY_EXPORT(SegmentMeanGrad);

namespace cpu {

void segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& out) {
  SUBQUAD_DISPATCH(SegmentMean)(x, starts, mask, divisor, out);
}

void segment_mean_grad(const MeanGrad& grad, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& dx) {
  SUBQUAD_DISPATCH(SegmentMeanGrad)(grad, starts, mask, divisor, dx);
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
