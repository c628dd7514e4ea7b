#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/landmark_softmax/cpu.cpp"
#include "subquad/kernels/landmark_softmax/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/softmax/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// Some rows of one matrix, and which of its landmarks count.
template <class T>
struct LandmarkRows {
  Index begin, end, width, first_element;
  std::vector<T> counts;  // [M]: 1, or 0 where a landmark does not

  template <class D>
  HWY_INLINE auto counted(D d, Index c) const {
    return hn::Ne(hn::LoadU(d, counts.data() + c), hn::Zero(d));
  }
  bool left_out(Index i) const { return counts[static_cast<std::size_t>(i)] == 0; }
};

// f(LandmarkRows) of all matrices, 64 rows at a time.
template <class T, class F>
void ForLandmarkRows(const Tensor& x, const Tensor& counts, const Tensor& none, const F& f) {
  constexpr Index kRows = 64;
  const Index width = x.dim(2), parts = (width + kRows - 1) / kRows, heads = x.dim(1);
  parallel_for(x.dim(0) * heads * parts, kRows * width * 8, [&](Index task) {
    const Index matrix = task / parts, b = matrix / heads, begin = task % parts * kRows;
    LandmarkRows<T> rows{begin, std::min(width, begin + kRows), width, (matrix * width + begin) * width, {}};
    const bool all = !none.defined() || !none.data<bool>()[b];
    const Index padded = width + static_cast<Index>(hn::MaxLanes(hn::ScalableTag<T>()));  // whole vectors
    rows.counts.assign(static_cast<std::size_t>(padded), T(all ? 1 : 0));
    if (all && counts.defined())
      std::transform(counts.data<bool>() + b * width, counts.data<bool>() + (b + 1) * width, rows.counts.begin(),
                     [](bool counted) { return T(counted ? 1 : 0); });
    f(rows);
  });
}

// Logits that say what is left out.
template <class T>
void LandmarkLogits(const LandmarkRows<T>& rows, const T* x, const LandmarkSoftmaxOptions& options, T* logits) {
  const hn::ScalableTag<T> d;
  const auto scale = hn::Set(d, static_cast<T>(options.scale));
  for (Index i = rows.begin; i < rows.end; ++i, x += rows.width, logits += rows.width) {
    if (rows.left_out(i)) {
      const bool uniform = options.left_out == LeftOutRows::uniform;
      std::fill_n(logits, rows.width, uniform ? T(0) : -std::numeric_limits<T>::infinity());
      logits[i] = 0;
    } else {
      ForVectors(d, rows.width, [&](Index c, auto lanes) HWY_ATTR {
        lanes.Store(hn::IfThenElse(rows.counted(d, c), hn::Mul(scale, lanes.Load(x + c)), NoLogit(d)), logits + c);
      });
    }
  }
}

// dx [rows] times scale where row and column count, else 0.
template <class T>
void ScaleCounted(const LandmarkRows<T>& rows, const LandmarkSoftmaxOptions& options, T* dx) {
  const hn::ScalableTag<T> d;
  const auto scale = hn::Set(d, static_cast<T>(options.scale));
  for (Index i = rows.begin; i < rows.end; ++i, dx += rows.width) {
    if (rows.left_out(i))
      std::fill_n(dx, rows.width, T(0));
    else
      ForVectors(d, rows.width, [&](Index c, auto lanes) HWY_ATTR {
        lanes.Store(hn::IfThenElseZero(rows.counted(d, c), hn::Mul(scale, lanes.Load(dx + c))), dx + c);
      });
  }
}

}  // namespace

void LandmarkSoftmax(const Tensor& x, const Tensor& counts, const Tensor& none, const LandmarkSoftmaxOptions& options,
                     Tensor& y) {
  visit_float("landmark_softmax", x.dtype(), [&]<class T>(Type<T>) {
    ForLandmarkRows<T>(x, counts, none, [&](const LandmarkRows<T>& rows) HWY_ATTR {
      T* to = y.data<T>() + rows.first_element;
      LandmarkLogits(rows, x.data<T>() + rows.first_element, options, to);
      SoftmaxOfRows(hn::ScalableTag<T>(), rows.end - rows.begin, rows.width, to, to);
    });
  });
}

void LandmarkSoftmaxGrad(const Tensor& dout, const Tensor& y, const Tensor& counts, const Tensor& none,
                         const LandmarkSoftmaxOptions& options, Tensor& dx) {
  visit_float("landmark_softmax_grad", y.dtype(), [&]<class T>(Type<T>) {
    ForLandmarkRows<T>(y, counts, none, [&](const LandmarkRows<T>& rows) HWY_ATTR {
      const Index first = rows.first_element;
      SoftmaxGradOfRows(hn::ScalableTag<T>(), rows.end - rows.begin, rows.width, dout.data<T>() + first,
                        y.data<T>() + first, dx.data<T>() + first);
      ScaleCounted(rows, options, dx.data<T>() + first);
    });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {

HWY_EXPORT(LandmarkSoftmax);
HWY_EXPORT(LandmarkSoftmaxGrad);

void cpu::landmark_softmax(const Tensor& x, const Tensor& counts, const Tensor& none,
                           const LandmarkSoftmaxOptions& options, Tensor& y) {
  SUBQUAD_DISPATCH(LandmarkSoftmax)(x, counts, none, options, y);
}

void cpu::landmark_softmax_grad(const Tensor& dout, const Tensor& y, const Tensor& counts, const Tensor& none,
                                const LandmarkSoftmaxOptions& options, Tensor& dx) {
  SUBQUAD_DISPATCH(LandmarkSoftmaxGrad)(dout, y, counts, none, options, dx);
}

}  // namespace subquad::kernels
#endif  // HWY_ONCE
