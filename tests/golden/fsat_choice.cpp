// What FSAT decides by: the hidden-state cross alone, and the choice of lags and columns alone.
#include "subquad/tests/golden/fsat_choice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

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

double choice_margin(const Tensor& keys, const Tensor& lengths, Index count, Index window) {
  double margin = std::numeric_limits<double>::infinity();
  for (Index b = 0; b < keys.dim(0); ++b)
    for (Index h = 0; h < keys.dim(1); ++h) {
      const Index n = lengths.data<Index>()[b];
      std::vector<double> row;
      for (Index t = 0; t < n; ++t)
        if (std::min(t, n - t) > window) row.push_back(at(keys, {b, h, t}));
      if (std::any_of(row.begin(), row.end(), [](double key) { return std::isnan(key); })) return std::nan("");
      const Index taken = count - (n - static_cast<Index>(row.size()));
      if (taken < 1 || taken >= static_cast<Index>(row.size())) continue;
      std::sort(row.begin(), row.end(), std::greater<>());
      const auto last = row.begin() + taken - 1;
      margin = std::min(margin, last[0] - last[1]);
    }
  return margin;
}

namespace {

// Can float32 take one key for another? Never where it holds them exactly.
bool float32_blurs(const Tensor& keys, const Tensor& lengths, Index count, Index window) {
  double rounding = 0;
  for (Index b = 0; b < keys.dim(0); ++b)
    for (Index h = 0; h < keys.dim(1); ++h)
      for (Index i = 0; i < lengths.data<Index>()[b]; ++i) {
        const double key = at(keys, {b, h, i});
        rounding = std::max(rounding, std::abs(static_cast<double>(static_cast<float>(key)) - key));
      }
  return rounding > 0 && choice_margin(keys, lengths, count, window) <= 2 * rounding;
}

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

GoldenErrors golden_fsat_cross(const GoldenFile& file, DType dtype) {
  for (const char* name : {"a", "b"}) file.tensor(name, {"batch", "length", "channels"});
  const Tensor a = file.input("a", dtype), b = file.input("b", dtype);
  const Mask mask = Mask::from_lengths(file.lengths(), a.dim(1)).to(device());
  GoldenErrors errors;
  const kernels::HiddenCross f = kernels::hidden_cross(a, b, mask);
  errors.result(file, "lag", f.lag);
  errors.result(file, "col", f.col);
  const kernels::HiddenCrossGrads g =
      kernels::hidden_cross_grad(file.input("grad_lag", dtype), file.input("grad_col", dtype), a, b, mask);
  errors.gradient(file, "grad_a", g.da);
  errors.gradient(file, "grad_b", g.db);
  for (const auto& [name, x] : {std::pair("a_hat", a), std::pair("b_hat", b)}) {
    if (!file.has(name)) continue;  // an intermediate value, not in all files
    const Index bins = file.tensor(name, {"batch", "", "channels", ""}).dim(1);
    const auto padded = std::bit_ceil(2 * static_cast<std::uint64_t>(a.dim(1)));
    if (bins != static_cast<Index>(padded / 2 + 1))
      throw ShapeError(cat(name, " has ", bins, " bins, not those of ", padded));
    errors.result(file, name, spectra(x, file.lengths(), bins));
  }
  return errors;
}

GoldenErrors golden_fsat_topk(const GoldenFile& file, DType dtype) {
  for (const char* name : {"lag_key", "col_key"}) file.tensor(name, {"batch", "heads", "length"});
  const Tensor lag_key = file.input("lag_key", dtype);
  const Index n_lag = file.number("n_lag", 0), n_col = file.number("n_col", 0), window = file.number("window", -1);
  file.tensor("lags", {"batch", "heads", "n_lag"});
  file.tensor("cols", {"batch", "heads", "n_col"});
  const Mask mask = Mask::from_lengths(file.lengths(), lag_key.dim(2)).to(device());
  GoldenErrors errors;  // indices are equal or off by one at least
  if (dtype == kFloat32 && (float32_blurs(file.tensor("lag_key"), file.lengths(), n_lag, window) ||
                            float32_blurs(file.tensor("col_key"), file.lengths(), n_col, -1))) {
    errors.left_out = kChoiceLeftOut;
    return errors;
  }
  const Tensor lags = kernels::choose_top_k(lag_key, n_lag, window, mask).to(kCpu);
  const Tensor cols = kernels::choose_top_k(file.input("col_key", dtype), n_col, -1, mask).to(kCpu);
  errors.result(file, "lags", lags);
  errors.result(file, "cols", cols);
  errors.result(file, "index", keys_of_queries(lags, cols, file.lengths(), lag_key.dim(2)));
  return errors;
}

}  // namespace subquad::test
