#include "subquad/nn/attention/nystrom.h"

#include <algorithm>
#include <cmath>

#include "subquad/autograd/check.h"
#include "subquad/autograd/ops/attention.h"
#include "subquad/autograd/ops/conv1d.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/landmark_softmax.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/pinv.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/autograd/ops/segment_mean.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/autograd/record.h"
#include "subquad/core/parallel.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/segments/segments.h"
#include "subquad/nn/real_rows.h"

namespace subquad::nn {

namespace {

PinvOptions pinv_options(const NystromConfig& config) {
  return {.iterations = config.pinv_iterations,
          .start = config.pinv_start,
          .detach_coefficient = config.detach_coefficient};
}

bool per_sample(const NystromConfig& config) {
  return config.mask == NystromMask::isolated && config.segments != NystromSegments::padded;
}

// Made on the device: a column of ones in [size, size + 1] is the diagonal of the first size x size numbers.
Tensor identity(Index size, const Tensor& like) {
  Tensor longer = zeros({size, size + 1}, like.dtype(), like.device()), ones = longer.slice(1, 0, 1);
  fill(ones, 1);
  return longer.reshape({size * (size + 1)}).slice(0, 0, size * size).reshape({size, size});
}

Variable constant(double value, const Variable& like) {
  return Variable(full({1}, value, like.dtype(), like.device()));
}

// How many rows of zeros stand in front of a sequence as tokens of their own: lucidrains' code pads to a multiple of m,
// and hides what it added only where it is given a mask.
Index zeros_in_front(Index positions, const Mask& mask, const NystromConfig& config) {
  if (config.mask != NystromMask::lucidrains || mask.defined()) return 0;
  return (config.landmarks - positions % config.landmarks) % config.landmarks;
}

Variable after_zeros(const Variable& x, Index count) {  // [B, H, N, C] -> [B, H, count + N, C]
  if (count == 0) return x;
  return concat({Variable(zeros(x.shape().with(2, count), x.dtype(), x.device())), x}, 2);
}

// bool [B, n] to [B, 1, n, 1]: beside [B, H, n, C]
Tensor rows(const Tensor& real) {
  return real.unsqueeze(1).unsqueeze(3);
}

// x [B, H, N, C] with zeros in padded rows; in memory [B, N, H, C], like what attention returns and takes.
Variable real_heads(const Variable& x, const Mask& mask) {
  return transpose(real_rows(transpose(x, 1, 2), mask), 1, 2);
}

// The landmarks of a batch, and the three matrices between them and the tokens. Whatever has several uses goes through
// segment_means or landmark_weights, which add up what backward brings to each.
class Landmarks {
 public:
  // `values` may be undefined: then no product with them can be asked for.
  Landmarks(const Variable& q, const Variable& k, const Variable& values, const Mask& mask, const NystromConfig& config)
      : config_(config),
        mask_(mask),
        front_(zeros_in_front(q.dim(2), mask, config)),
        q_(q),
        k_(after_zeros(k, front_)),
        values_(values),
        skipped_(values) {
    average(after_zeros(q, front_), config.mask == NystromMask::huggingface ? Mask() : mask);
  }

  // The values for the convolution's use.
  const Variable& skipped() const { return skipped_; }

  // F x; isolated landmarks give padded rows 0                                       [B, H, m, C] -> [B, H, N, C]
  Variable to_tokens(const Variable& x) const {
    const Mask queries = config_.mask == NystromMask::isolated ? mask_ : Mask();
    const Variable out = attention(q_, k_means_, x, filled_, {.skip_padded_queries = false, .queries = queries}).out;
    if (config_.mask != NystromMask::lucidrains || !mask_.defined()) return out;
    return where(rows(mask_.real), out, mean(x, {2}, true));
  }

  // (F z) (S v), or for a covered sample F applied to its tokens: the softmax attention that it gets alone
  Variable kernels_first(const Variable& z) const {  // [B, H, N, C]
    const Variable out = matmul(to_tokens(z), from_tokens(values_));
    const Variable chosen = covered_.defined() ? where(per_head(covered_), to_tokens(v_means_), out) : out;
    return config_.mask == NystromMask::isolated ? real_heads(chosen, mask_) : chosen;
  }

  // F (z (S v)); for a covered sample the same
  Variable values_first(const Variable& z) const {
    const Variable gathered = from_tokens(values_);  // [B, H, m, C]
    return to_tokens(covered_.defined() ? matmul_or(z, gathered, v_means_, covered_) : matmul(z, gathered));
  }

  // S x. Rows of empty landmarks hold what S makes of a mean of 0 where landmarks are isolated: no column of F nor row
  // of Z ever meets them.
  Variable from_tokens(const Variable& x) const {  // [B, H, N, C] -> [B, H, m, C]
    const Variable out = attention(q_means_, k_, after_zeros(x, front_), mask_, {.skip_padded_queries = false}).out;
    if (filled_.defined() && config_.mask == NystromMask::lucidrains) return where(rows(filled_.real), out, uniform(x));
    return out;
  }

  // S itself, from what from_tokens makes of the identity.
  Variable without_empty(const Variable& s) const {
    if (!filled_.defined() || config_.mask == NystromMask::lucidrains) return s;
    return where(rows(filled_.real), s, constant(0, s));
  }

  // What each landmark averages: the means of the identity.                                     [B, m, N]
  Tensor means() const {
    const Index positions = k_.dim(2) - front_;
    const Variable unit(identity(positions, k_.value()).expand({k_.dim(0), 1, positions, positions}));
    const Mask seen = config_.mask == NystromMask::huggingface ? Mask() : mask_;
    const Tensor starts = by_real_tokens() ? kernels::even_segments_of_real(mask_, config_.landmarks).starts : cut();
    return segment_mean(after_zeros(unit, front_), starts, seen, divisor()).value().squeeze(1);
  }

  // A: rows beside filled landmarks, and of covered samples, are those of the identity, or uniform (lucidrains).
  const Variable& between() const { return between_; }

  // Z; a covered sample needs none
  Variable inverse() const { return pinv(between_, pinv_options(config_)); }

 private:
  static Tensor per_head(const Tensor& samples) {  // bool [B] -> [B, 1, 1, 1]
    return samples.reshape({samples.size(), 1, 1, 1});
  }

  bool by_length() const { return config_.mask == NystromMask::official || config_.mask == NystromMask::huggingface; }

  bool by_real_tokens() const { return per_sample(config_) && mask_.defined(); }
  MeanDivisor divisor() const { return by_length() ? MeanDivisor::length : MeanDivisor::real; }

  // Landmarks, filled_, covered_ and A. `queries` as the means of them see it, `seen` the tokens that do.
  void average(const Variable& queries, const Mask& seen) {
    const bool in_place = front_ == 0;
    std::vector<MeanInput> inputs = {{.x = queries, .uses = in_place ? std::size_t{1} : 0}, {.x = k_, .uses = 1}};
    const bool of_real = by_real_tokens(), exact = of_real && config_.exact_when_covered;
    if (in_place && values_.defined()) inputs.push_back({.x = values_, .mean = exact, .uses = 2});
    std::vector<MeanResult> means;
    if (of_real) {
      RealMeanResults r = segment_means_of_real(inputs, mask_, config_.landmarks);
      filled_ = r.cut.filled;
      if (exact) covered_ = r.cut.covered;
      means = std::move(r.results);
    } else {
      const Tensor starts = cut();
      if (leaves_out_empty()) filled_ = kernels::filled_segments(starts, mask_, k_.dim(2) - front_);
      means = segment_means(inputs, starts, seen, divisor());
    }
    if (in_place) q_ = means[0].uses[0];
    k_ = means[1].uses[0];
    if (inputs.size() == 3) {
      v_means_ = means[2].mean;
      skipped_ = means[2].uses[0];
      values_ = means[2].uses[1];
    }
    if (seen.defined() && config_.mask != NystromMask::isolated)
      q_ = real_heads(q_, mask_);  // F has no surprises there
    const bool uniform_rows = config_.mask == NystromMask::lucidrains;
    const LandmarkWeights weights =
        landmark_weights(means[0].mean, means[1].mean, filled_.real, covered_,
                         {.scale = 1 / std::sqrt(static_cast<double>(k_.dim(3))),
                          .left_out = uniform_rows ? LeftOutRows::uniform : LeftOutRows::identity});
    between_ = weights.y;
    q_means_ = weights.q;
    k_means_ = weights.k;
  }

  bool from_end() const { return config_.mask == NystromMask::lucidrains; }

  Tensor cut() const {  // segments of the padded length
    const auto segments = from_end() ? kernels::segments_from_end : kernels::even_segments;
    return segments(k_.dim(0), k_.dim(2), config_.landmarks, k_.device());
  }

  bool leaves_out_empty() const {
    const bool some_empty = from_end() ? k_.dim(2) % config_.landmarks != 0 : k_.dim(2) < config_.landmarks;
    return !by_length() && (mask_.defined() || some_empty);
  }

  // A uniform row of S under a mask, in the code that pads to a multiple of m.               [B, H, 1, C]
  Variable uniform(const Variable& x) const {
    const Index positions = x.dim(2), length = (positions + config_.landmarks - 1) / config_.landmarks;
    const Tensor whole = kernels::even_segments(x.dim(0), positions, 1, x.device());
    const Variable over_all = segment_mean(x, whole, mask_, MeanDivisor::length);
    return mul_scalar(over_all, static_cast<double>(positions) / static_cast<double>(length * config_.landmarks));
  }

  const NystromConfig& config_;
  const Mask& mask_;
  Index front_;                 // rows of zeros in front of the tokens
  Variable q_, k_;              // [B, H, N, E], [B, H, front + N, E]
  Variable values_, skipped_;   // [B, H, N, C], for S and for the convolution
  Variable q_means_, k_means_;  // [B, H, m, E]
  Variable v_means_;            // [B, H, m, C], where samples are covered
  Variable between_;            // [B, H, m, m]
  Mask filled_;                 // [B, m], where landmarks of empty segments are left out
  Tensor covered_;              // bool [B]: samples whose tokens are their own landmarks and need no inverse
};

// The heads before the convolution, and what that reads.
struct Mixed {
  Variable heads, skipped;  // [B, H, N, C]
};

Mixed softmax_attention(const Variable& q, const Variable& k, const Variable& values, const Mask& mask,
                        const NystromConfig& config) {
  if (config.mask == NystromMask::isolated) return {attention(q, k, values, mask).out, values};
  const bool padded_as_zero = mask.defined() && config.mask != NystromMask::huggingface;
  const Variable queries = padded_as_zero ? real_heads(q, mask) : q;
  return {attention(queries, k, values, mask, {.skip_padded_queries = false}).out, values};
}

Mixed approximated(const Variable& q, const Variable& k, const Variable& values, const Mask& mask,
                   const NystromConfig& config) {
  const Landmarks landmarks(q, k, values, mask, config);
  const Variable z = landmarks.inverse();  // [B, H, m, m]
  const bool kernels_first = config.order == NystromOrder::kernels_first;
  return {kernels_first ? landmarks.kernels_first(z) : landmarks.values_first(z), landmarks.skipped()};
}

void check_inputs(const Variable& q, const Variable& k, const Mask& mask) {
  check_defined("nystrom", "q", q);
  check_defined("nystrom", "k", k);
  check_rank("nystrom", "q", q.value(), 4);
  check_shape("nystrom", "k", k.value(), q.shape());
  check_mask("nystrom", mask, q.dim(0), q.dim(2));
}

}  // namespace

void check_nystrom(const NystromConfig& config) {
  constexpr Index kMostLandmarks = 10'000'000;  // A holds the square of it, more than any memory does
  if (config.landmarks < 1 || config.landmarks > kMostLandmarks)
    throw Error(cat("nystrom: landmarks is ", config.landmarks, ", expected 1 to ", kMostLandmarks));
  constexpr int kMostIterations = 20;  // float32's rounding errors reach the result soon after
  if (config.pinv_iterations < 1 || config.pinv_iterations > kMostIterations)
    throw Error(cat("nystrom: pinv_iterations is ", config.pinv_iterations, ", expected 1 to ", kMostIterations));
  if (config.conv_kernel < 0 || (config.conv_kernel > 0 && config.conv_kernel % 2 == 0))
    throw Error(cat("nystrom: conv_kernel is ", config.conv_kernel, ", expected an odd number of taps, or 0 for none"));
  if (config.segments == NystromSegments::per_sample && config.mask != NystromMask::isolated)
    throw Error(
        cat("nystrom: segments is per_sample and mask is ", nystrom_mask_name(config.mask),
            ", expected segments padded or automatic, or mask isolated: published code cuts the padded length"));
}

Variable nystrom_attention(const Variable& q, const Variable& k, const Variable& values, const Variable& taps,
                           const Mask& mask, const NystromConfig& config) {
  check_nystrom(config);
  check_inputs(q, k, mask);
  check_defined("nystrom", "values", values);
  check_rank("nystrom", "values", values.value(), 4);
  check_shape("nystrom", "values", values.value(), q.shape().with(3, values.dim(3)));
  const bool covered = config.exact_when_covered && q.dim(2) <= config.landmarks;
  const Mixed mixed = (covered ? softmax_attention : approximated)(q, k, values, mask, config);
  if (!taps.defined()) return mixed.heads;
  const Mask seen = config.mask == NystromMask::huggingface ? Mask() : mask;
  const PaddedRows padded = config.mask == NystromMask::isolated ? PaddedRows::zero : PaddedRows::kept;
  return conv1d(mixed.skipped, taps, seen, mixed.heads, padded);
}

NystromFactors nystrom_factors(const Variable& q, const Variable& k, const Mask& mask, const NystromConfig& config) {
  check_nystrom(config);
  check_inputs(q, k, mask);
  const NoGrad no_grad;
  NystromConfig always = config;
  always.exact_when_covered = false;
  const Landmarks landmarks(q, k, {}, mask, always);
  const auto unit = [&](Index size) {
    return Variable(identity(size, q.value()).expand({q.dim(0), q.dim(1), size, size}));
  };
  const Variable f = landmarks.to_tokens(unit(config.landmarks));
  return {.f = f.value(),
          .a = landmarks.between().value(),
          .z = landmarks.inverse().value(),
          .s = landmarks.without_empty(landmarks.from_tokens(unit(q.dim(2)))).value(),
          .means = landmarks.means()};
}

namespace {

// |A Z - I| of one matrix: the root of the sum of squares, and the largest.
std::pair<double, double> residual(View<const double, 2> a, View<const double, 2> z) {
  const Index m = a.dim(0);
  double squares = 0, largest = 0;
  std::vector<double> row(static_cast<std::size_t>(m));
  for (Index i = 0; i < m; ++i) {
    std::fill(row.begin(), row.end(), 0.0);
    row[static_cast<std::size_t>(i)] = -1;
    for (Index k = 0; k < m; ++k)
      for (Index j = 0; j < m; ++j) row[static_cast<std::size_t>(j)] += a(i, k) * z(k, j);
    for (const double x : row) {
      squares += x * x;
      largest = std::max(largest, std::abs(x));
    }
  }
  return {std::sqrt(squares), largest};
}

}  // namespace

PinvResiduals pinv_residuals(const Tensor& a, const NystromConfig& config) {
  check_nystrom(config);
  check_rank("nystrom", "a", a, 4);
  check_shape("nystrom", "a", a, a.shape().with(2, a.dim(3)));
  const kernels::PinvOutput inverse = kernels::pinv(a.contiguous(), pinv_options(config), /*for_backward=*/false);
  const Index last = config.pinv_iterations, matrices = a.dim(0) * a.dim(1), m = a.dim(3);
  const Tensor all = a.to(kCpu).to(kFloat64).contiguous().reshape({matrices, m, m});
  const Tensor out = inverse.out.to(kCpu).to(kFloat64).reshape({matrices, m, m});
  const Tensor steps = inverse.steps.to(kCpu).to(kFloat64).reshape({last, matrices, m, m});
  PinvResiduals residuals{.frobenius = empty({last + 1, a.dim(0), a.dim(1)}, kFloat64, kCpu), .largest = {}};
  residuals.largest = empty_like(residuals.frobenius);
  parallel_for((last + 1) * matrices, 2 * m * m * m, [&](Index each) {
    const Index t = each / matrices, matrix = each % matrices;
    const Tensor z = t == last ? out.select(0, matrix) : steps.select(0, t).select(0, matrix);
    const auto [root, most] = residual(all.select(0, matrix).view<const double, 2>(), z.view<const double, 2>());
    residuals.frobenius.data<double>()[each] = root;
    residuals.largest.data<double>()[each] = most;
  });
  return residuals;
}

NystromAttention::NystromAttention(const Place& place, const AttentionConfig& config)
    : QkvAttention(place, config), config_(config.nystrom) {
  if (config.causal) throw Error("nystrom: causal is true, expected false: a landmark averages later tokens, too");
  check_nystrom(config_);
  if (config_.conv_kernel == 0) return;
  const double bound = 1 / std::sqrt(static_cast<double>(config_.conv_kernel));
  taps_ = parameter("conv", {heads(), config_.conv_kernel}, uniform_init(-bound, bound));
}

Variable NystromAttention::mix(const AttentionInput& in, const Heads& heads, const Variable& values,
                               bool /*draws*/) const {
  return nystrom_attention(heads.q, heads.k, values, taps_, in.mask, config_);
}

NystromFactors NystromAttention::factors(const AttentionInput& in) const {
  const ModuleScope scope = enter();
  const NoGrad no_grad;
  const Heads heads = project(in);
  return nystrom_factors(heads.q, heads.k, in.mask, config_);
}

}  // namespace subquad::nn
