#include "subquad/kernels/hidden_cross/cuda.h"

#include "subquad/kernels/circular/cyclic.cuh"

namespace subquad::kernels::cuda {
namespace {

// Both are jobs of cyclic_job.cuh. Means 0 and 1 are those of a and b.

template <class T>
__device__ T shift_or_zero(const T* shift, Index feature) {
  return shift == nullptr ? T(0) : shift[feature];
}

template <class T>
struct CrossJob {
  static constexpr int kIn = 2, kOut = 1, kMeans = 2, kFirst = 2;
  const T *a, *b, *shift;  // shift may be null
  T *lag, *col;

  template <class Mean>
  __device__ T term(int q, Index at, const Mean&) const {
    return q == 0 ? a[at] : b[at];
  }
  __device__ Continued continued(int s) const { return s == 0 ? Continued::by_zeros : Continued::ahead; }
  template <class Mean>
  __device__ T value(int s, Index at, const Mean& mean) const {
    return s == 0 ? a[at] - mean[0] : b[at] - mean[1];
  }
  __device__ void product(const SpectrumPair<T>* x, SpectrumPair<T>* y) const {
    y[0] = {conjugate(x[0].low) * x[1].low, conjugate(x[0].high) * x[1].high};
  }
  __device__ T scale(int n) const { return 1 / static_cast<T>(n); }
  template <class Mean>
  __device__ void finish(int, Index at, Index feature, T v, const Mean& mean) const {
    lag[at] = v;
    col[at] = (mean[0] + shift_or_zero(shift, feature)) * (b[at] - mean[1]);
  }
  __device__ void zero(Index at) const { lag[at] = col[at] = 0; }
};

// Mean 2 is dcol's, mean 3 that of dcol bt. `dlag` and `dcol` may be null.
template <class T>
struct CrossGradJob {
  static constexpr int kIn = 3, kOut = 2, kMeans = 4, kFirst = 3;
  const T *dlag, *dcol, *a, *b, *shift;
  T *da, *db, *dshift_parts;  // [B, C], null without a shift

  __device__ T column(Index at) const { return dcol == nullptr ? T(0) : dcol[at]; }
  template <class Mean>
  __device__ T term(int q, Index at, const Mean& mean) const {
    if (q < 2) return q == 0 ? a[at] : b[at];
    return q == 2 ? column(at) : column(at) * (b[at] - mean[1]);
  }
  __device__ Continued continued(int s) const {
    return s == 0 ? Continued::by_zeros : s == 1 ? Continued::behind : Continued::ahead;
  }
  template <class Mean>
  __device__ T value(int s, Index at, const Mean& mean) const {
    if (s == 0) return dlag == nullptr ? T(0) : dlag[at];
    return s == 1 ? a[at] - mean[0] : b[at] - mean[1];
  }
  __device__ void product(const SpectrumPair<T>* x, SpectrumPair<T>* y) const {
    y[0] = {x[0].low * x[1].low, x[0].high * x[1].high};                        // dbt: e convolved with at
    y[1] = {conjugate(x[0].low) * x[2].low, conjugate(x[0].high) * x[2].high};  // dat: e correlated with bt
  }
  __device__ T scale(int n) const { return 1 / static_cast<T>(n); }
  template <class Mean>
  __device__ void finish(int s, Index at, Index feature, T v, const Mean& mean) const {
    if (s == 0)
      db[at] = v + (mean[0] + shift_or_zero(shift, feature)) * (column(at) - mean[2]);
    else
      da[at] = v + mean[3];
  }
  __device__ void zero(Index at) const { da[at] = db[at] = 0; }
  template <class Mean>
  __device__ void sample(Index place, int n, const Mean& mean) const {
    if (dshift_parts != nullptr) dshift_parts[place] = n == 0 ? T(0) : static_cast<T>(n) * mean[3];
  }
};

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

void hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask, const Tensor& shift, HiddenCross& out) {
  if (a.size() == 0) return;
  visit_float("hidden_cross", a.dtype(), [&]<class T>(Type<T>) {
    const CrossJob<T> job = {a.data<T>(), b.data<T>(), data_or_null<T>(shift), out.lag.data<T>(), out.col.data<T>()};
    run_cyclic<T>("hidden_cross", job, mask, a);
  });
}

void hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                       const Tensor& shift, HiddenCrossGrads& grads) {
  if (a.size() == 0) {
    if (shift.defined()) fill(grads.dshift_parts, 0);
    return;
  }
  visit_float("hidden_cross_grad", a.dtype(), [&]<class T>(Type<T>) {
    run_cyclic<T>("hidden_cross_grad",
                  CrossGradJob<T>{data_or_null<T>(dlag), data_or_null<T>(dcol), a.data<T>(), b.data<T>(),
                                  data_or_null<T>(shift), grads.da.data<T>(), grads.db.data<T>(),
                                  shift.defined() ? grads.dshift_parts.data<T>() : nullptr},
                  mask, a);
  });
}

}  // namespace subquad::kernels::cuda
