#include "subquad/kernels/circular/spectra.h"

#include <utility>

#include "subquad/core/check.h"
#include "subquad/core/prefix_mask.h"
#include "subquad/kernels/fft/cpu_plan.h"

namespace subquad::kernels::cpu {

bool has_own_spectrum(Index n) {
  return n > 0 && n % 2 == 0 && is_smooth(n);
}

Index kept_numbers(Index n) {
  return has_own_spectrum(n) ? 4 * (n / 4 + 1) + 1 : 0;
}

std::vector<Index> kept_starts(const Tensor& x, const Mask& mask) {
  std::vector<Index> starts = {0};
  for (Index b = 0; b < x.dim(0); ++b)
    starts.push_back(starts.back() + x.dim(2) * kept_numbers(prefix_length(mask, b, x.dim(1))));
  return starts;
}

CyclicSpectra room_for_spectra(const Tensor& a, const Mask& mask, const char* op) {
  if (!a.device().is_cpu()) return {};
  const Index count = kept_starts(a, mask).back();
  if (count == 0) return {};
  return {empty({count}, a.dtype(), kCpu, op), empty({count}, a.dtype(), kCpu, op)};
}

void check_spectra(const char* op, const CyclicSpectra& spectra, const Tensor& a, const Mask& mask) {
  if (!spectra.a.defined() && !spectra.b.defined()) return;
  const Shape kept = {kept_starts(a, mask).back()};
  for (const auto& [name, numbers] : {std::pair{"spectra.a", spectra.a}, std::pair{"spectra.b", spectra.b}}) {
    check_shape(op, name, numbers, kept);
    check_alike(op, "a", a, name, numbers);
  }
}

}  // namespace subquad::kernels::cpu
