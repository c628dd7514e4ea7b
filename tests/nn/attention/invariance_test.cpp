// What every attention promises of samples, over random shapes, options and masks: what stands at padded positions, how
// many there are and what else is in the batch change nothing, and a causal one sees no future.
#include <cmath>
#include <limits>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/core/parallel.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::same_bits;

struct OneThread {
  int before = num_threads();
  OneThread() { set_num_threads(1); }
  ~OneThread() { set_num_threads(before); }
};

bool coin(Rng& rng) {
  return rng.below(2) == 1;
}

template <class Choice>
Choice any(Rng& rng, int count) {
  return static_cast<Choice>(rng.below(count));
}

// Options that keep the promises; those of published code by which padding is seen on purpose are left out.
AttentionConfig draw_config(const std::string& kind, bool causal, Rng& rng) {
  AttentionConfig c{.kind = kind, .max_length = 64, .causal = causal, .dropout = coin(rng) ? 0.3 : 0};
  c.heads = kind == "paramixer" ? 1 : 1 + rng.below(3);
  c.head_width = kind == "paramixer" ? 0 : 1 + rng.below(5);
  c.width = 1 + rng.below(7);
  c.nystrom = {.landmarks = 1 + rng.below(12),
               .pinv_iterations = static_cast<int>(1 + rng.below(4)),
               .detach_coefficient = coin(rng),
               .conv_kernel = coin(rng) ? 5 : 0,
               .order = any<NystromOrder>(rng, 2),
               .exact_when_covered = coin(rng)};
  c.fsat = {.cross = 3,
            .hidden = 2,
            .lags = 3 + rng.below(6),
            .columns = rng.below(5),
            .window = rng.below(3) - 1,
            .mode = any<FsatMode>(rng, 2),
            .truncate = coin(rng),
            .gamma = coin(rng) ? 1.0 : 0.0,
            .attention_dropout = coin(rng) ? 0.3 : 0};
  c.paramixer = {.protocol = any<LinkProtocol>(rng, 3),
                 .factors = rng.below(5),
                 .hidden = 4,
                 .residual = any<MixResidual>(rng, 3)};
  c.combiner = {.pattern = any<CombinerPattern>(rng, 7), .attention_dropout = coin(rng) ? 0.3 : 0};
  if (c.combiner.pattern != CombinerPattern::logsparse) c.combiner.segment = rng.below(10);
  if (c.combiner.pattern == CombinerPattern::rowmajor) c.combiner.summary = any<CombinerSummary>(rng, 4);
  if (c.combiner.pattern == CombinerPattern::fixed) c.combiner.pool = any<CombinerPool>(rng, 9);
  c.combiner.own_span =
      !causal && coin(rng) &&
      (c.combiner.pattern == CombinerPattern::fixed || c.combiner.pattern == CombinerPattern::rowmajor);
  c.local = {.window = rng.below(6)};
  return c;
}

bool can_be_causal(const std::string& kind) {
  try {
    make_attention(test::place(kFloat32), {.kind = kind, .width = 2, .max_length = 4, .causal = true});
    return true;
  } catch (const Error&) {
    return false;
  }
}

// x [B, N, D] with `value`, of alternating sign, wherever a position is not real.
Tensor filled(const Tensor& x, const Tensor& real, double value) {
  Tensor out = test::doubles(x).clone();
  const Index width = x.dim(2);
  for (Index row = 0; row < x.dim(0) * x.dim(1); ++row)
    for (Index d = 0; d < width && !real.data<bool>()[row]; ++d)
      out.data<double>()[row * width + d] = value != 0 && d % 2 == 1 ? -value : value;
  return test::here(out.to(x.dtype()));
}

// x [B, N, D] with `more` positions behind, drawn anew; real [B, N] with as many that are not.
Tensor lengthened(const Tensor& x, Index more) {
  Tensor out = test::normal({x.dim(0), x.dim(1) + more, x.dim(2)}, x.dtype(), 77), front = out.slice(1, 0, x.dim(1));
  copy(x, front);
  return out;
}
Tensor padded(const Tensor& real, Index more) {
  Tensor out = zeros({real.dim(0), real.dim(1) + more}, kBool, kCpu), front = out.slice(1, 0, real.dim(1));
  copy(real, front);
  return out;
}

// One batch, and what a module makes of it.
struct Batch {
  Tensor values, data, upstream;  // [B, N, D]
  Tensor real;                    // [B, N], on the CPU
  Index first = 0;                // number of its first sample

  struct Results {
    Tensor out, dvalues, ddata;  // [B, N, D]; out 0 where padded
    std::vector<Tensor> parameters;
    bool finite = true;  // also of what comes out at padded positions
  };
  Results run(Attention& module) const {
    const Variable v(values.clone(), true), d(data.clone(), true);
    module.zero_grad();
    const Mask mask = Mask::from_bool(real).to(test::device());
    const Variable out = module.forward({v, d, mask, test::random_state(real.dim(0), 1, first)});
    backward(sum(mul(out, Variable(filled(upstream, real, 0)))));
    Results results{filled(out.value().contiguous(), real, 0), v.grad(), d.grad(), {}};
    for (const Variable& p : module.parameters())
      results.parameters.push_back(p.grad().defined() ? p.grad().clone() : zeros(p.shape(), p.dtype(), p.device()));
    const Tensor everywhere = test::doubles(out.value());
    for (const double x : everywhere.span<double>()) results.finite &= std::isfinite(x);
    return results;
  }
};

struct Trial {
  AttentionConfig config;
  std::unique_ptr<Attention> module;
  Batch batch;
};

Trial draw_trial(const std::string& kind, bool causal, DType dtype, Index n, Rng& rng) {
  Trial trial{draw_config(kind, causal, rng), {}, {}};
  trial.module = make_attention(test::place(dtype, 1 + static_cast<std::uint64_t>(rng.below(1000))), trial.config);
  test::randomise(*trial.module);
  if (coin(rng)) trial.module->eval();
  const Shape shape = {1 + rng.below(3), n, trial.config.width};
  const auto normal = [&] { return test::normal(shape, dtype, static_cast<std::uint64_t>(rng.below(1000000))); };
  trial.batch = {.values = normal(), .data = normal(), .upstream = normal(), .real = zeros({shape[0], n}, kBool, kCpu)};
  const bool holes = coin(rng);
  for (Index b = 0; b < shape[0]; ++b) {
    const Index length = rng.below(n + 1);
    for (Index i = 0; i < n; ++i) trial.batch.real.data<bool>()[b * n + i] = holes ? coin(rng) : i < length;
  }
  return trial;
}

void check_same(const Batch::Results& got, const Batch::Results& want) {
  CHECK(same_bits(got.out, want.out));
  CHECK(same_bits(got.dvalues, want.dvalues));
  CHECK(same_bits(got.ddata, want.ddata));
  for (std::size_t i = 0; i < want.parameters.size(); ++i) CHECK(same_bits(got.parameters[i], want.parameters[i]));
}

// Projections of other shapes, which BLAS may sum in another order, are all that may differ. In float64: FSAT chooses
// by scores that differ by as much.
void check_close(const Batch::Results& got, const Batch::Results& want) {
  const double tolerance = 1e-10;
  CHECK_CLOSE(got.out, want.out, tolerance);
  CHECK_CLOSE(got.dvalues, want.dvalues, tolerance);
  CHECK_CLOSE(got.ddata, want.ddata, tolerance);
}

void check_contents(const Trial& trial, const Batch::Results& want) {
  CHECK(want.finite);
  CHECK_CLOSE(want.dvalues, filled(want.dvalues, trial.batch.real, 0), 0);
  CHECK_CLOSE(want.ddata, filled(want.ddata, trial.batch.real, 0), 0);
  const bool is_float = want.out.dtype() == kFloat32;
  const double largest = is_float ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
  for (const double contents : {3.0, -1e6, largest}) {
    if (test::interpreted() && contents != largest) continue;  // time
    Batch other = trial.batch;
    other.values = filled(other.values, other.real, contents);
    other.data = filled(other.data, other.real, -contents);
    const Batch::Results got = other.run(*trial.module);
    CHECK(got.finite);
    check_same(got, want);
  }
}

void check_amount(const Trial& trial, const Batch::Results& want, Index more) {
  const Batch& batch = trial.batch;
  const Batch longer{.values = lengthened(batch.values, more),
                     .data = lengthened(batch.data, more),
                     .upstream = lengthened(batch.upstream, more),
                     .real = padded(batch.real, more)};
  Batch::Results got = longer.run(*trial.module);
  for (Tensor* t : {&got.out, &got.dvalues, &got.ddata}) *t = t->slice(1, 0, batch.values.dim(1)).contiguous();
  check_close(got, want);
}

void check_mates(const Trial& trial, const Batch::Results& want) {
  for (Index b = 0; b < trial.batch.values.dim(0); ++b) {
    const auto one = [&](const Tensor& t) { return t.slice(0, b, b + 1).contiguous(); };
    const Batch alone{.values = one(trial.batch.values),
                      .data = one(trial.batch.data),
                      .upstream = one(trial.batch.upstream),
                      .real = one(trial.batch.real),
                      .first = b};
    check_close(alone.run(*trial.module), {one(want.out), one(want.dvalues), one(want.ddata), {}});
  }
}

// From position `from` on, results are not asked for, and inputs are others.
void check_future(const Trial& trial, Index from) {
  const Index n = trial.batch.values.dim(1);
  const auto late = [&](const Tensor& t) { return t.slice(1, from, n); };
  Batch now = trial.batch;
  now.upstream = now.upstream.clone();
  Tensor unasked = late(now.upstream);
  fill(unasked, 0);
  Batch other = now;
  for (Tensor* t : {&other.values, &other.data}) {
    *t = t->clone();
    Tensor changed = late(*t);
    fill(changed, 3);
  }
  Batch::Results want = now.run(*trial.module), got = other.run(*trial.module);
  for (const Tensor& grad : {got.dvalues, got.ddata})
    CHECK_CLOSE(late(grad), zeros(late(grad).shape(), kFloat64, kCpu), 0);
  for (Tensor* t : {&want.out, &got.out}) *t = t->slice(1, 0, from).contiguous();
  check_same(got, want);
}

TEST_CASE("every attention: contents and amount of padding, batch mates and the future change nothing") {
  const int rounds = test::interpreted() ? 6 : 60;
  const OneThread small_sizes;  // of which a team of threads makes nothing but waiting
  for (const std::string& kind : attention_kinds())
    for (const bool causal : {false, true}) {
      if (causal && !can_be_causal(kind)) continue;
      Rng rng(5);
      double gradients = 0;
      for (int round = 0; round < rounds; ++round) {
        CAPTURE(kind);
        CAPTURE(causal);
        CAPTURE(round);
        const DType dtype = round % 3 == 0 ? kFloat32 : kFloat64;
        const Index n = round < 3 ? 1 : 1 + rng.below(37);
        const Trial trial = draw_trial(kind, causal, dtype, n, rng);
        const Batch::Results want = trial.batch.run(*trial.module);
        check_contents(trial, want);
        if (dtype == kFloat64) {
          check_amount(trial, want, 1 + rng.below(20));
          check_mates(trial, want);
        }
        if (causal) check_future(trial, rng.below(n));
        gradients += test::largest_error(want.ddata, zeros(want.ddata.shape(), kFloat64, kCpu));
      }
      CHECK(gradients > 1);  // something was asked for
    }
}

}  // namespace
}  // namespace subquad::nn
