// cuFFT on the CPU: what include/cufft.h declares. Transforms wait in the plan's stream like kernels do, so that
// captures record them. Each fills the plan's work area with NaN, and one from complex to real its input, as the
// library may.
#include <cufft.h>
#include <simt/stream.h>

#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <numbers>
#include <vector>

#include "subquad/tests/simt/host_queue.h"

namespace {

using Number = std::complex<double>;

struct Plan {
  cudaStream_t stream = nullptr;
  bool allocates = true, made = false;
  cufftType type = CUFFT_C2C;
  long long n = 0, batch = 0, in_stride = 0, in_apart = 0, out_stride = 0, out_apart = 0;
  std::size_t work_bytes = 0;
  void* work = nullptr;
};

std::map<cufftHandle, Plan>& plans() {
  static std::map<cufftHandle, Plan> all;
  return all;
}

Plan* find(cufftHandle handle) {
  const auto found = plans().find(handle);
  return found == plans().end() ? nullptr : &found->second;
}

// x[0], x[step], ... : `n` of them, transformed into out; root[k] = e^(+-2 pi i k / roots).
void transform(const Number* x, std::size_t step, std::size_t n, Number* out, const std::vector<Number>& root) {
  std::size_t factor = 2;
  while (n % factor != 0 && factor * factor <= n) ++factor;
  if (n % factor != 0) factor = n;
  if (n <= 1) {
    if (n == 1) out[0] = x[0];
    return;
  }
  const std::size_t m = n / factor, turn = root.size() / n;
  std::vector<Number> parts(n);
  for (std::size_t j = 0; j < factor; ++j) transform(x + j * step, step * factor, m, parts.data() + j * m, root);
  for (std::size_t k = 0; k < n; ++k) {
    Number sum = 0;
    for (std::size_t j = 0; j < factor; ++j) sum += parts[j * m + k % m] * root[j * k % n * turn];
    out[k] = sum;
  }
}

std::vector<Number> roots(long long n, int direction) {
  std::vector<Number> out;
  for (long long k = 0; k < n; ++k)
    out.push_back(std::polar(1.0, direction * 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n)));
  return out;
}

template <class Real>
void run(const Plan& p, const void* in, void* out, int direction, bool from_real, bool to_real) {
  const std::vector<Number> root = roots(p.n, direction);
  std::vector<Number> x(static_cast<std::size_t>(p.n)), y(x.size());
  if (p.work_bytes > 0) std::memset(p.work, 0xff, p.work_bytes);
  for (long long b = 0; b < p.batch; ++b) {
    for (long long j = 0; j < p.n; ++j) {
      const bool mirrored = to_real && j > p.n / 2;
      const long long at = b * p.in_apart + (mirrored ? p.n - j : j) * p.in_stride;
      if (from_real)
        x[j] = static_cast<const Real*>(in)[at];
      else
        x[j] = static_cast<const std::complex<Real>*>(in)[at];
      if (mirrored) x[j] = std::conj(x[j]);
    }
    transform(x.data(), 1, x.size(), y.data(), root);
    for (long long k = 0; k < (from_real ? p.n / 2 + 1 : p.n); ++k) {
      const long long at = b * p.out_apart + k * p.out_stride;
      if (to_real)
        static_cast<Real*>(out)[at] = static_cast<Real>(y[k].real());
      else
        static_cast<std::complex<Real>*>(out)[at] = static_cast<std::complex<Real>>(y[k]);
    }
  }
  constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();
  if (to_real)
    for (long long b = 0; b < p.batch; ++b)
      for (long long j = 0; j <= p.n / 2; ++j)
        static_cast<std::complex<Real>*>(const_cast<void*>(in))[b * p.in_apart + j * p.in_stride] = {kNan, kNan};
}

template <class Real>
cufftResult start(cufftHandle handle, cufftType type, const void* in, void* out, int direction, const char* call) {
  const Plan* const plan = find(handle);
  if (plan == nullptr || !plan->made || plan->type != type) return CUFFT_INVALID_PLAN;
  if (plan->work_bytes > 0 && plan->work == nullptr) return CUFFT_NO_WORKSPACE;
  const auto aligned = [](const void* data) {
    return reinterpret_cast<std::uintptr_t>(data) % (2 * sizeof(Real)) == 0;
  };
  if (in == nullptr || out == nullptr || !aligned(in) || !aligned(out)) return CUFFT_INVALID_VALUE;
  if (direction != CUFFT_FORWARD && direction != CUFFT_INVERSE) return CUFFT_INVALID_VALUE;
  const bool from_real = type == CUFFT_R2C || type == CUFFT_D2Z, to_real = type == CUFFT_C2R || type == CUFFT_Z2D;
  simt::enqueue(
      plan->stream, [=, p = *plan] { run<Real>(p, in, out, direction, from_real, to_real); }, call);
  return CUFFT_SUCCESS;
}

}  // namespace

cufftResult cufftCreate(cufftHandle* handle) {
  static cufftHandle next = 0;
  *handle = next++;
  plans()[*handle] = {};
  return CUFFT_SUCCESS;
}

cufftResult cufftDestroy(cufftHandle plan) {
  if (simt::refuse_while_capturing() != cudaSuccess) return CUFFT_INTERNAL_ERROR;
  return plans().erase(plan) == 1 ? CUFFT_SUCCESS : CUFFT_INVALID_PLAN;
}

cufftResult cufftSetStream(cufftHandle handle, cudaStream_t stream) {
  Plan* const plan = find(handle);
  if (plan == nullptr) return CUFFT_INVALID_PLAN;
  plan->stream = stream;
  return CUFFT_SUCCESS;
}

cufftResult cufftSetAutoAllocation(cufftHandle handle, int autoAllocate) {
  Plan* const plan = find(handle);
  if (plan == nullptr || plan->made) return CUFFT_INVALID_PLAN;
  plan->allocates = autoAllocate != 0;
  return CUFFT_SUCCESS;
}

cufftResult cufftSetWorkArea(cufftHandle handle, void* workArea) {
  Plan* const plan = find(handle);
  if (plan == nullptr || !plan->made) return CUFFT_INVALID_PLAN;
  plan->work = workArea;
  return CUFFT_SUCCESS;
}

cufftResult cufftMakePlanMany64(cufftHandle handle, int rank, long long int* n, long long int* inembed,
                                long long int istride, long long int idist, long long int* onembed,
                                long long int ostride, long long int odist, cufftType type, long long int batch,
                                std::size_t* workSize) {
  Plan* const plan = find(handle);
  if (plan == nullptr || plan->made) return CUFFT_INVALID_PLAN;
  if (plan->allocates) return CUFFT_NOT_SUPPORTED;  // here; the product brings its own work area
  if (simt::refuse_while_capturing() != cudaSuccess) return CUFFT_INTERNAL_ERROR;
  if (rank != 1 || inembed == nullptr || onembed == nullptr || n[0] < 1 || batch < 1) return CUFFT_INVALID_SIZE;
  plan->type = type;
  plan->n = n[0];
  plan->batch = batch;
  plan->in_stride = istride;
  plan->in_apart = idist;
  plan->out_stride = ostride;
  plan->out_apart = odist;
  *workSize = plan->work_bytes = static_cast<std::size_t>(n[0]) * sizeof(Number);
  plan->made = true;
  return CUFFT_SUCCESS;
}

cufftResult cufftExecC2C(cufftHandle plan, cufftComplex* idata, cufftComplex* odata, int direction) {
  return start<float>(plan, CUFFT_C2C, idata, odata, direction, "cufftExecC2C");
}

cufftResult cufftExecR2C(cufftHandle plan, cufftReal* idata, cufftComplex* odata) {
  return start<float>(plan, CUFFT_R2C, idata, odata, CUFFT_FORWARD, "cufftExecR2C");
}

cufftResult cufftExecC2R(cufftHandle plan, cufftComplex* idata, cufftReal* odata) {
  return start<float>(plan, CUFFT_C2R, idata, odata, CUFFT_INVERSE, "cufftExecC2R");
}

cufftResult cufftExecZ2Z(cufftHandle plan, cufftDoubleComplex* idata, cufftDoubleComplex* odata, int direction) {
  return start<double>(plan, CUFFT_Z2Z, idata, odata, direction, "cufftExecZ2Z");
}

cufftResult cufftExecD2Z(cufftHandle plan, cufftDoubleReal* idata, cufftDoubleComplex* odata) {
  return start<double>(plan, CUFFT_D2Z, idata, odata, CUFFT_FORWARD, "cufftExecD2Z");
}

cufftResult cufftExecZ2D(cufftHandle plan, cufftDoubleComplex* idata, cufftDoubleReal* odata) {
  return start<double>(plan, CUFFT_Z2D, idata, odata, CUFFT_INVERSE, "cufftExecZ2D");
}
