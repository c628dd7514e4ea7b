#include "subquad/kernels/fft/cuda_long.h"

#include <utility>

#include "subquad/kernels/cufft/transform.h"
#include "subquad/kernels/fft/complex.cuh"
#include "subquad/kernels/warp/sweep.cuh"

namespace subquad::kernels::cuda {
namespace {

// Numbers 0 ... bins - 1 of spectra of n numbers, in [outer, extent, inner].
struct Spectra {
  Index n, bins, extent, inner;
};

// All four: a pass over the numbers of the output, which are read once and written once; neighbouring threads take
// neighbouring numbers.

// out[k] = factor x[k], the factor being `scale`, times `inside` but where k = 0 or 2 k = n; there the imaginary part
// becomes 0 if `is_real`. x may be out where extent = bins.
template <class T>
__global__ void spectrum_scaled(const Complex<T>* x, Spectra spectra, T scale, T inside, bool is_real, Index size,
                                Complex<T>* out) {
  sweep<1>(size, [&]<int N>(Index i) {
    const Index line = i / spectra.inner, outer = line / spectra.bins, k = line % spectra.bins;
    const Complex<T> v = x[(outer * spectra.extent + k) * spectra.inner + i % spectra.inner];
    const bool end = k == 0 || 2 * k == spectra.n;
    out[i] = scaled(v, end ? scale : scale * inside);
    if (end && is_real) out[i].im = 0;
  });
}

// out[k] for k < n from numbers 0 ... bins - 1 of a real sequence's spectrum, as above.
template <class T>
__global__ void spectrum_completed(const Complex<T>* x, Spectra spectra, T scale, T inside, Index size,
                                   Complex<T>* out) {
  sweep<1>(size, [&]<int N>(Index i) {
    const Index line = i / spectra.inner, outer = line / spectra.n, k = line % spectra.n;
    const bool mirrored = k >= spectra.bins;
    const Index from = outer * spectra.extent + (mirrored ? spectra.n - k : k);
    const Complex<T> v = scaled(x[from * spectra.inner + i % spectra.inner], k == 0 ? scale : scale * inside);
    out[i] = {v.re, k == 0 ? T(0) : mirrored ? -v.im : v.im};
  });
}

template <class T>
__global__ void complex_of_real(const T* x, Index size, Complex<T>* out) {
  sweep<1>(size, [&]<int N>(Index i) { out[i] = {x[i], 0}; });
}

template <class T>
__global__ void real_parts(const Complex<T>* x, Index size, T* out) {
  sweep<1>(size, [&]<int N>(Index i) { out[i] = x[i].re; });
}

template <class T>
Complex<T>* numbers(Tensor& x) {
  return reinterpret_cast<Complex<T>*>(x.bytes());
}
template <class T>
const Complex<T>* numbers(const Tensor& x) {
  return reinterpret_cast<const Complex<T>*>(x.bytes());
}

template <class... Params, class... Args>
void launch_sweep(void (*kernel)(Params...), Index size, const Args&... args) {
  launch(kernel, dim3(sweep_blocks(size, 1)), dim3(kSweepThreads), 0, current_stream(), args...);
}

template <class T>
void scale_spectrum(const Tensor& x, Index n, T scale, T inside, bool is_real, Tensor& out) {
  launch_sweep(spectrum_scaled<T>, out.size(), numbers<T>(x), Spectra{n, out.dim(1), x.dim(1), x.dim(2)}, scale, inside,
               is_real, out.size(), numbers<T>(out));
}

CufftLines lines_of(const Tensor& x, Index n, DType dtype) {
  return {dtype, x.dim(0), n, x.dim(2)};
}

Tensor complex_like(const Tensor& x, Index extent) {
  const bool wide = x.dtype() == kFloat64 || x.dtype() == kComplex128;
  return empty({x.dim(0), extent, x.dim(2)}, wide ? kComplex128 : kComplex64, x.device(), "fft");
}

template <class T>
void real_transform(const Tensor& x, T scale, T inside, Tensor& out) {
  const Index n = x.dim(1);
  if (n % 2 == 0) {
    // cuFFT reads two real numbers at once.
    const bool aligned = reinterpret_cast<std::uintptr_t>(x.bytes()) % sizeof(Complex<T>) == 0;
    const Tensor in = aligned ? x : x.clone();
    cufft(LineTransformKind::real, lines_of(x, n, x.dtype()), in.bytes(), out.bytes());
    if (scale != 1 || inside != 1) scale_spectrum<T>(out, n, scale, inside, true, out);
  } else {  // as complex numbers
    Tensor whole = complex_like(x, n);
    launch_sweep(complex_of_real<T>, x.size(), x.data<T>(), x.size(), numbers<T>(whole));
    cufft(LineTransformKind::forward, lines_of(x, n, x.dtype()), whole.bytes(), whole.bytes());
    scale_spectrum<T>(whole, n, scale, inside, true, out);
  }
}

template <class T>
void inverse_transform(const Tensor& x, T scale, T inside, Tensor& out) {
  const Index n = out.dim(1);
  const CufftLines lines = lines_of(out, n, out.dtype());
  if (n % 2 == 0) {
    Tensor ready = complex_like(x, x.dim(1));  // a copy, which cuFFT may destroy
    scale_spectrum<T>(x, n, scale, inside, true, ready);
    cufft(LineTransformKind::real_from_half, lines, ready.bytes(), out.bytes());
  } else {
    Tensor whole = complex_like(x, n);
    launch_sweep(spectrum_completed<T>, whole.size(), numbers<T>(x), Spectra{n, x.dim(1), x.dim(1), x.dim(2)}, scale,
                 inside, whole.size(), numbers<T>(whole));
    cufft(LineTransformKind::backward, lines, whole.bytes(), whole.bytes());
    launch_sweep(real_parts<T>, out.size(), numbers<T>(std::as_const(whole)), out.size(), out.data<T>());
  }
}

}  // namespace

void long_fft(const Tensor& x, bool backward, double scale, Tensor& out) {
  const auto run = [&]<class T>(Type<T>) {
    cufft(backward ? LineTransformKind::backward : LineTransformKind::forward, lines_of(x, x.dim(1), dtype_of<T>()),
          x.bytes(), out.bytes());
    if (scale != 1) scale_spectrum<T>(out, x.dim(1), static_cast<T>(scale), T(1), false, out);
  };
  x.dtype() == kComplex64 ? run(Type<float>()) : run(Type<double>());
}

void long_rfft(const Tensor& x, double scale, double inside, Tensor& out) {
  visit_float("rfft", x.dtype(),
              [&]<class T>(Type<T>) { real_transform<T>(x, static_cast<T>(scale), static_cast<T>(inside), out); });
}

void long_irfft(const Tensor& x, double scale, double inside, Tensor& out) {
  visit_float("irfft", out.dtype(),
              [&]<class T>(Type<T>) { inverse_transform<T>(x, static_cast<T>(scale), static_cast<T>(inside), out); });
}

}  // namespace subquad::kernels::cuda
