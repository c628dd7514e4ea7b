#include "subquad/kernels/segment_mean/cpu.h"

#include <algorithm>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {
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

template <class T>
void mean_rows(View<const T, 4> x, Index b, Index h, const Segment& segment, T* mean) {
  const Index width = x.dim(3);
  std::fill_n(mean, width, T(0));
  if (segment.empty()) return;
  for (Index i = segment.begin(); i < segment.end(); ++i) {
    if (!segment.is_real(i)) continue;
    const T* row = &x(b, h, i, 0);
    for (Index c = 0; c < width; ++c) mean[c] += row[c];
  }
  const T divisor = static_cast<T>(segment.divisor());
  for (Index c = 0; c < width; ++c) mean[c] /= divisor;
}

template <class T>
void spread_row(const T* dmean, const Segment& segment, Index b, Index h, View<T, 4> dx) {
  const Index width = dx.dim(3);
  const T divisor = static_cast<T>(segment.divisor());
  const T* share = nullptr;  // the first row that got it
  for (Index i = segment.begin(); i < segment.end(); ++i) {
    T* row = &dx(b, h, i, 0);
    if (!segment.is_real(i)) {
      std::fill_n(row, width, T(0));
    } else if (share != nullptr) {
      std::copy_n(share, width, row);
    } else {
      for (Index c = 0; c < width; ++c) row[c] = dmean[c] / divisor;
      share = row;
    }
  }
}

// f(segment, b, h, where its mean stands in [B, H, S, C]) for all of them; they cover every position.
template <class F>
void for_segments(const Tensor& means, Index positions, const Tensor& starts, const Mask& mask, MeanDivisor divisor,
                  const F& f) {
  const Index heads = means.dim(1), segments = means.dim(2), width = means.dim(3);
  const Index work = (positions / segments + 1) * width;
  parallel_for(means.dim(0) * heads * segments, work, [&](Index task) {
    const Index b = task / segments / heads, h = task / segments % heads, j = task % segments;
    f(Segment(starts, mask, divisor, b, j), b, h, task * width);
  });
}

}  // namespace

void segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& out) {
  visit_float("segment_mean", x.dtype(), [&]<class T>(Type<T>) {
    const auto from = x.view<const T, 4>();
    T* means = out.data<T>();
    for_segments(out, x.dim(2), starts, mask, divisor, [&](const Segment& segment, Index b, Index h, Index to) {
      mean_rows(from, b, h, segment, means + to);
    });
  });
}

void segment_mean_grad(const Tensor& dout, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& dx) {
  visit_float("segment_mean_grad", dout.dtype(), [&]<class T>(Type<T>) {
    const auto to = dx.view<T, 4>();
    const T* dmeans = dout.data<T>();
    for_segments(dout, dx.dim(2), starts, mask, divisor, [&](const Segment& segment, Index b, Index h, Index from) {
      spread_row(dmeans + from, segment, b, h, to);
    });
  });
}

}  // namespace subquad::kernels::cpu
