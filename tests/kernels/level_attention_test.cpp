#include "subquad/kernels/level_attention/level_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "subquad/kernels/copy/copy.h"
#include "subquad/tests/kernels/span_cases.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::LevelAttentionGrads;
using kernels::LevelAttentionOutput;

struct LevelCase {
  Index n = 7, width = 4, value_width = 3, batch = 2;
  bool causal = false;
  enum class Padding { none, prefix, scattered } padding = Padding::none;
};

struct Inputs {
  Tensor q, k, v, dout, dlse;
  Mask mask;
};

Inputs make_inputs(const LevelCase& c, DType dtype) {
  Inputs in{normal({c.batch, 2, c.n, c.width}, dtype, 1),
            normal({c.batch, 2, c.n, c.width}, dtype, 2),
            normal({c.batch, 2, c.n, c.value_width}, dtype, 3),
            normal({c.batch, 2, c.n, c.value_width}, dtype, 4),
            normal({c.batch, 2, c.n}, dtype, 5),
            {}};
  if (c.padding == LevelCase::Padding::none) return in;
  Tensor real = zeros({c.batch, c.n}, kBool, kCpu);
  for (Index b = 0; b < c.batch; ++b)
    for (Index i = 0; i < c.n; ++i)
      real.data<bool>()[b * c.n + i] =
          c.padding == LevelCase::Padding::prefix ? i < c.n - b * c.n / 2 : (i * 7 + b) % 3 != 0;
  in.mask = Mask::from_bool(real);
  return in;
}

// A summary by its definition: key and value of a set of tokens.
struct Summary {
  std::vector<double> key, value;
};

class Slow {
 public:
  Slow(const LevelCase& c, const Inputs& in)
      : c_(c), mask_(in.mask), q_(doubles(in.q)), k_(doubles(in.k)), v_(doubles(in.v)) {}

  // out [C] and lse of one query.
  std::pair<std::vector<double>, double> see(Index b, Index h, Index i) const {
    std::vector<Summary> entries;
    if (real(b, i)) entries.push_back(of(b, h, i, i + 1));
    for (int level = 0; real(b, i) && (Index{1} << level) < c_.n; ++level) {
      const Index size = Index{1} << level, block = (i >> level) ^ 1;
      if (c_.causal && (i >> level & 1) == 0) continue;
      const Summary entry = of(b, h, block * size, std::min(c_.n, (block + 1) * size));
      if (!entry.key.empty()) entries.push_back(entry);
    }
    std::vector<double> out(static_cast<std::size_t>(c_.value_width), 0), logits;
    if (entries.empty()) return {out, -std::numeric_limits<double>::infinity()};
    for (const Summary& entry : entries) logits.push_back(logit(row(q_, b, h, i), entry.key));
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double s : logits) sum += std::exp(s - top);
    for (std::size_t e = 0; e < entries.size(); ++e)
      for (std::size_t f = 0; f < out.size(); ++f) out[f] += std::exp(logits[e] - top) / sum * entries[e].value[f];
    return {out, top + std::log(sum)};
  }

 private:
  bool real(Index b, Index i) const { return is_real(mask_, b, i, c_.n); }
  std::vector<double> row(const Tensor& x, Index b, Index h, Index i) const {
    const double* from = x.data<double>() + ((b * 2 + h) * c_.n + i) * x.dim(3);
    return {from, from + x.dim(3)};
  }
  double logit(const std::vector<double>& a, const std::vector<double>& b) const {
    double sum = 0;
    for (std::size_t e = 0; e < a.size(); ++e) sum += a[e] * b[e];
    return sum / std::sqrt(static_cast<double>(c_.width));
  }
  // Of the real tokens among begin ... end - 1; nothing where there is none.
  Summary of(Index b, Index h, Index begin, Index end) const {
    Summary summary;
    std::vector<double> query, weights;
    for (Index j = begin; j < end; ++j) {
      if (!real(b, j)) continue;
      const std::vector<double> q = row(q_, b, h, j), k = row(k_, b, h, j);
      if (query.empty()) query = q, summary.key = k;
      for (std::size_t e = 0; e < q.size(); ++e) {
        query[e] = std::max(query[e], q[e]);
        summary.key[e] = std::max(summary.key[e], k[e]);
      }
    }
    double sum = 0;
    for (Index j = begin; j < end; ++j) {
      weights.push_back(real(b, j) ? std::exp(logit(query, row(k_, b, h, j))) : 0);
      sum += weights.back();
    }
    summary.value.assign(static_cast<std::size_t>(c_.value_width), 0);
    for (Index j = begin; j < end; ++j)
      for (std::size_t f = 0; real(b, j) && f < summary.value.size(); ++f)
        summary.value[f] += weights[static_cast<std::size_t>(j - begin)] / sum * row(v_, b, h, j)[f];
    return summary;
  }

  const LevelCase& c_;
  const Mask& mask_;
  Tensor q_, k_, v_;
};

void check_forward(const LevelCase& c, DType dtype) {
  CAPTURE(c.n);
  CAPTURE(c.width);
  CAPTURE(c.causal);
  CAPTURE(static_cast<int>(c.padding));
  const Inputs in = make_inputs(c, dtype);
  const Slow slow(c, in);
  Tensor out = zeros(in.v.shape(), kFloat64, kCpu), lse = zeros({c.batch, 2, c.n}, kFloat64, kCpu);
  for (Index b = 0; b < c.batch; ++b)
    for (Index h = 0; h < 2; ++h)
      for (Index i = 0; i < c.n; ++i) {
        const auto [sums, log_sum] = slow.see(b, h, i);
        for (Index f = 0; f < c.value_width; ++f) out.view<double, 4>()(b, h, i, f) = sums[static_cast<std::size_t>(f)];
        lse.view<double, 3>()(b, h, i) = log_sum;
      }
  const LevelAttentionOutput got = kernels::level_attention(in.q, in.k, in.v, c.causal, in.mask);
  const double tolerance = dot_tolerance(dtype, std::max(c.n, c.width) * 8);
  CHECK_CLOSE(got.out, out, tolerance);
  CHECK_CLOSE(got.lse, lse, tolerance);
}

std::vector<Tensor> all_results(const Inputs& in, bool causal) {
  const LevelAttentionOutput f = kernels::level_attention(in.q, in.k, in.v, causal, in.mask);
  const LevelAttentionGrads g =
      kernels::level_attention_grad(in.dout, in.dlse, in.q, in.k, in.v, f.summaries, causal, in.mask);
  return {f.out, f.lse, g.dq, g.dk, g.dv};
}

}  // namespace

TEST_CASE("level_attention equals its definition for every length and mask") {
  if (!device().is_cpu()) return;
  for_each_simd_target([] {
    for (const Index n : {1, 2, 3, 7, 8, 17, 64, 100, 127, 128, 129, 200, 256, 300})
      for (const bool causal : {false, true})
        for (const auto padding : {LevelCase::Padding::none, LevelCase::Padding::prefix, LevelCase::Padding::scattered})
          for_each_float([&](DType dtype) { check_forward({.n = n, .causal = causal, .padding = padding}, dtype); });
  });
}

TEST_CASE("level_attention takes any head size, empty batches and no tokens") {
  if (!device().is_cpu()) return;
  for_each_simd_target([] {
    for (const auto& [width, value_width] : std::vector<std::pair<Index, Index>>{{1, 1}, {3, 17}, {16, 32}, {40, 5}})
      check_forward({.n = 150, .width = width, .value_width = value_width, .batch = 1}, kFloat32);
    check_forward({.batch = 0}, kFloat32);
    check_forward({.n = 0}, kFloat32);
  });
}

TEST_CASE("level_attention has the same bits for any number of threads, strides and padding") {
  if (!device().is_cpu()) return;
  for_each_simd_target([] {
    LevelCase c{.n = 300, .width = 16, .value_width = 16, .batch = 3, .padding = LevelCase::Padding::scattered};
    Inputs in = make_inputs(c, kFloat32);
    const std::vector<Tensor> want = all_results(in, true);
    Inputs other = in;
    for (Tensor* x : {&other.q, &other.k, &other.v, &other.dout}) {
      *x = x->transpose(1, 2).contiguous().transpose(1, 2);
      for (Index b = 0; b < c.batch; ++b)
        for (Index i = 0; i < c.n; ++i)
          for (Index h = 0; h < 2 && !is_real(in.mask, b, i, c.n); ++h)
            std::fill_n(&x->view<float, 4>()(b, h, i, 0), 16, std::numeric_limits<float>::quiet_NaN());
    }
    for (Index b = 0; b < c.batch; ++b)
      for (Index i = 0; i < c.n; ++i)
        if (!is_real(in.mask, b, i, c.n)) other.dlse.view<float, 3>()(b, 1, i) = 7;
    const std::vector<Tensor> got = all_results(other, true);
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(same_bits(got[i].contiguous(), want[i].contiguous()));
    CHECK(same_for_any_thread_count([&] { return all_results(in, false); }));
  });
}

TEST_CASE("level_attention: padding behind the last token changes no bit") {
  if (!device().is_cpu()) return;
  for_each_simd_target([] {
    const Index n = 130, padded = 700;
    const Inputs in = make_inputs({.n = n, .width = 8, .value_width = 8}, kFloat32);
    const auto longer = [&](const Tensor& x) {
      return kernels::concat({x, full(x.shape().with(2, padded - n), 3, kFloat32, kCpu)}, 2);
    };
    const Inputs more{longer(in.q),    longer(in.k),    longer(in.v),
                      longer(in.dout), longer(in.dlse), Mask::from_lengths(tensor<Index>({n, n}, {2}), padded)};
    const std::vector<Tensor> want = all_results(in, false), got = all_results(more, false);
    for (std::size_t i = 0; i < want.size(); ++i)
      CHECK(same_bits(got[i].slice(2, 0, n).contiguous(), want[i].contiguous()));
    for (const std::size_t i : {0, 2, 3, 4})
      CHECK(same_bits(got[i].slice(2, n, padded).contiguous(), zeros({2, 2, padded - n, 8}, kFloat32, kCpu)));
  });
}

TEST_CASE("level_attention names the wrong argument") {
  if (!device().is_cpu()) return;
  const Tensor q = zeros({1, 2, 8, 4}, kFloat32, kCpu), k = zeros({1, 2, 9, 4}, kFloat32, kCpu);
  CHECK_THROWS_AS(kernels::level_attention(q, k, k, false), ShapeError);
  const LevelAttentionOutput f = kernels::level_attention(q, q, q, false);
  CHECK_THROWS_AS(kernels::level_attention_grad(k, {}, q, q, q, f.summaries, false), ShapeError);
  CHECK_THROWS_AS(kernels::level_attention_grad(q, {}, q, q, q, q, false), ShapeError);
}

}  // namespace subquad::test
