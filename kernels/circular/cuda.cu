#include "subquad/kernels/circular/cuda.h"

#include "subquad/kernels/circular/cyclic.cuh"

namespace subquad::kernels::cuda {
namespace {

// A job of cyclic_job.cuh.
template <class T>
struct CircularJob {
  static constexpr int kIn = 2, kOut = 1, kMeans = 0, kFirst = 0;
  const T *a, *b;
  T* out;
  bool correlate;

  __device__ Continued continued(int s) const {
    return s == 0 ? Continued::by_zeros : correlate ? Continued::ahead : Continued::behind;
  }
  template <class Mean>
  __device__ T value(int s, Index at, const Mean&) const {
    return s == 0 ? a[at] : b[at];
  }
  __device__ void product(const SpectrumPair<T>* x, SpectrumPair<T>* y) const {
    y[0].low = (correlate ? conjugate(x[0].low) : x[0].low) * x[1].low;
    y[0].high = (correlate ? conjugate(x[0].high) : x[0].high) * x[1].high;
  }
  __device__ T scale(int) const { return 1; }
  template <class Mean>
  __device__ void finish(int, Index at, Index, T v, const Mean&) const {
    out[at] = v;
  }
  __device__ void zero(Index at) const { out[at] = 0; }
};

}  // namespace

void circular(const Tensor& a, const Tensor& b, const Mask& mask, bool correlate, Tensor& out) {
  if (out.size() == 0) return;
  visit_float("circular", a.dtype(), [&]<class T>(Type<T>) {
    run_cyclic<T>("circular", CircularJob<T>{a.data<T>(), b.data<T>(), out.data<T>(), correlate}, mask, a);
  });
}

}  // namespace subquad::kernels::cuda
