// What FSAT decides by: the hidden-state cross alone, and the choice of lags and columns alone.
#include "subquad/tests/golden/fsat_choice.h"

#include "subquad/kernels/fft/fft.h"
#include "subquad/kernels/hidden_cross/hidden_cross.h"
#include "subquad/kernels/top_k/top_k.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {

Tensor keys_of_queries(const Tensor& lags, const Tensor& cols, const Tensor& lengths, Index positions) {
  const Index n_lag = lags.dim(2), slots = n_lag + cols.dim(2);
  Tensor index = full({lags.dim(0), lags.dim(1), positions, slots}, -1, kInt64, kCpu);
  auto out = index.view<Index, 4>();
  const auto lag = lags.view<const Index, 3>(), col = cols.view<const Index, 3>();
  for (Index b = 0; b < lags.dim(0); ++b)
    for (Index h = 0; h < lags.dim(1); ++h)
      for (Index n = lengths.data<Index>()[b], i = 0; i < n; ++i) {
        for (Index s = 0; s < n_lag; ++s)
          if (lag(b, h, s) >= 0) out(b, h, i, s) = (i + lag(b, h, s)) % n;
        for (Index s = n_lag; s < slots; ++s) {
          bool taken = false;
          for (Index t = 0; t < n_lag; ++t) taken = taken || out(b, h, i, t) == col(b, h, s - n_lag);
          if (!taken) out(b, h, i, s) = col(b, h, s - n_lag);
        }
      }
  return index;
}

namespace {

// The spectra (re, im) of the sequences less their means, with zeros behind them, as a transform of 2 (bins - 1)
// numbers.
Tensor spectra(const Tensor& x, const Tensor& lengths, Index bins) {
  const Tensor wide = doubles(x);
  Tensor centred = zeros({x.dim(0), 2 * (bins - 1), x.dim(2)}, kFloat64, kCpu);
  const auto from = wide.view<const double, 3>();
  auto to = centred.view<double, 3>();
  for (Index b = 0; b < x.dim(0); ++b)
    for (Index c = 0; c < x.dim(2); ++c) {
      const Index n = lengths.data<Index>()[b];
      double sum = 0;
      for (Index i = 0; i < n; ++i) sum += from(b, i, c);
      for (Index i = 0; i < n; ++i) to(b, i, c) = from(b, i, c) - sum / static_cast<double>(n);
    }
  return kernels::complex_to_pairs(kernels::rfft(here(centred.to(x.dtype())), 1));
}

}  // namespace

GoldenErrors golden_fsat_cross(const SafetensorsFile& file, DType dtype) {
  const auto input = [&](const char* name) { return here(file.tensors.at(name).to(dtype)); };
  const Tensor a = input("a"), b = input("b");
  const Mask mask = Mask::from_lengths(file.tensors.at("lengths"), a.dim(1)).to(device());
  GoldenErrors errors;
  const kernels::HiddenCross f = kernels::hidden_cross(a, b, mask);
  errors.result(f.lag, file.tensors.at("lag"));
  errors.result(f.col, file.tensors.at("col"));
  const kernels::HiddenCrossGrads g = kernels::hidden_cross_grad(input("grad_lag"), input("grad_col"), a, b, mask);
  errors.gradient(g.da, file.tensors.at("grad_a"));
  errors.gradient(g.db, file.tensors.at("grad_b"));
  for (const auto& [name, x] : {std::pair("a_hat", a), std::pair("b_hat", b)})
    if (const auto want = file.tensors.find(name);
        want != file.tensors.end())  // an intermediate value, not in all files
      errors.result(spectra(x, file.tensors.at("lengths"), want->second.dim(1)), want->second);
  return errors;
}

GoldenErrors golden_fsat_topk(const SafetensorsFile& file, DType dtype) {
  const auto keys = [&](const char* name) { return here(file.tensors.at(name).to(dtype)); };
  const auto option = [&](const char* name) { return std::stoll(file.metadata.at(name)); };
  const Tensor lag_key = keys("lag_key"), lengths = file.tensors.at("lengths");
  const Mask mask = Mask::from_lengths(lengths, lag_key.dim(2)).to(device());
  const Tensor lags = kernels::choose_top_k(lag_key, option("n_lag"), option("window"), mask).to(kCpu);
  const Tensor cols = kernels::choose_top_k(keys("col_key"), option("n_col"), -1, mask).to(kCpu);
  GoldenErrors errors;  // indices are equal or off by one at least
  errors.result(lags, file.tensors.at("lags"));
  errors.result(cols, file.tensors.at("cols"));
  errors.result(keys_of_queries(lags, cols, lengths, lag_key.dim(2)), file.tensors.at("index"));
  return errors;
}

}  // namespace subquad::test
