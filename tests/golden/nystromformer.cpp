// Nystromformer: the mechanism between given q, k and v, and the pseudo-inverse alone.
#include "subquad/tests/golden/nystromformer.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/pinv.h"
#include "subquad/nn/attention/nystrom.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {

namespace {

// Modes are followed by a remark in brackets: "official", "lucidrains (masked mean, ...)".
nn::NystromMask mask_mode(const GoldenFile& file) {
  const std::string& text = file.option("mask_mode");
  return nn::parse_nystrom_mask(text.substr(0, text.find(' ')));
}

// The official code takes the softmax branch where there are as many landmarks as tokens, lucidrains' has none; a file
// may say so itself.
bool takes_softmax(const GoldenFile& file) {
  const bool covered = file.number("num_landmarks", 1) >= file.number("seq_len", 1);
  if (!file.says("branch")) return covered && mask_mode(file) != nn::NystromMask::lucidrains;
  const std::string& branch = file.option("branch");
  if (branch == "nystrom") return false;
  if (branch == "softmax" && covered) return true;
  throw Error(cat("branch is '", branch, "', expected nystrom or, with num_landmarks >= seq_len, softmax"));
}

nn::NystromSegments segments_of_rule(const GoldenFile& file, nn::NystromMask mask) {
  const std::string& rule = file.option("landmark_rule");
  const bool divisible = file.number("seq_len", 1) % file.number("num_landmarks", 1) == 0;
  const bool from_end = mask == nn::NystromMask::lucidrains;
  if (rule == "equal segments" && (divisible || takes_softmax(file))) return nn::NystromSegments::padded;
  if (from_end && rule == "left zero padding, then equal segments") return nn::NystromSegments::padded;
  if (!from_end && rule.starts_with("uneven segments")) return nn::NystromSegments::padded;
  if (mask == nn::NystromMask::isolated && (rule.starts_with("per_sample") || rule.starts_with("per sample")))
    return nn::NystromSegments::per_sample;
  throw Error(cat("landmark_rule is '", rule, "', which does not go with mask_mode ", nn::nystrom_mask_name(mask),
                  " and these sizes"));
}

// By the rule; or as a file says it, where each sample is cut on its own by a rule that does not tell.
nn::NystromSegments segments(const GoldenFile& file, nn::NystromMask mask) {
  const nn::NystromSegments of_rule = segments_of_rule(file, mask);
  if (!file.says("segments")) return of_rule;
  const bool isolated = mask == nn::NystromMask::isolated;
  nn::NystromSegments named = nn::parse_nystrom_segments(file.option("segments"));
  if (named == nn::NystromSegments::automatic)
    named = isolated ? nn::NystromSegments::per_sample : nn::NystromSegments::padded;
  if (named == of_rule || (isolated && named == nn::NystromSegments::per_sample)) return named;
  throw Error(cat("segments is '", file.option("segments"), "', which does not go with mask_mode ",
                  nn::nystrom_mask_name(mask), " and landmark_rule '", file.option("landmark_rule"), "'"));
}

PinvOptions pinv_options(const GoldenFile& file) {
  return {.iterations = static_cast<int>(file.number("pinv_iterations", 0, 1000)),
          .start = nn::parse_pinv_start(file.option("pinv_init")),
          .detach_coefficient = file.truth("detach_coefficient", false)};
}

// Compares a matrix of the mechanism where the file holds it.
void compare(GoldenErrors& errors, const GoldenFile& file, const std::string& name, const Tensor& got) {
  if (file.has(name)) errors.result(file, name, got);
}

}  // namespace

nn::NystromConfig nystrom_options(const GoldenFile& file) {
  nn::NystromConfig config{.landmarks = file.number("num_landmarks", 1),
                           .conv_kernel = file.number("conv_kernel_size", 0),
                           .mask = mask_mode(file),
                           .exact_when_covered = takes_softmax(file)};
  config.segments = segments(file, config.mask);
  if (file.says("order")) config.order = nn::parse_nystrom_order(file.option("order"));
  if (config.exact_when_covered && file.option("pinv_init") == "not used") {
    file.allow("pinv_iterations", "not used");
    return config;
  }
  const PinvOptions pinv = pinv_options(file);
  config.pinv_iterations = pinv.iterations;
  config.pinv_start = pinv.start;
  config.detach_coefficient = pinv.detach_coefficient;
  return config;
}

GoldenErrors golden_nystromformer_attention(const GoldenFile& file, DType dtype) {
  const nn::NystromConfig config = nystrom_options(file);
  for (const char* name : {"in.q", "in.k", "in.v"}) file.tensor(name, {"batch", "heads", "seq_len", "head_dim"});
  const auto leaf = [&](const char* name) { return Variable(file.input(name, dtype), true); };
  const Variable q = leaf("in.q"), k = leaf("in.k"), v = leaf("in.v");
  Variable taps;
  if (config.conv_kernel > 0) {
    file.tensor("param.conv.weight", {"heads", "", "conv_kernel_size", ""});
    taps = Variable(file.input("param.conv.weight", dtype).reshape({q.dim(1), config.conv_kernel}), true);
  }
  const Mask mask = file.mask().to(device());

  GoldenErrors errors;
  const Variable out = nn::nystrom_attention(q, k, v, taps, mask, config);
  errors.result(file, "out", out.value());
  backward(out, file.input("up.out", dtype));
  errors.gradient(file, "grad.q", q.grad());
  errors.gradient(file, "grad.k", k.grad());
  errors.gradient(file, "grad.v", v.grad());
  if (taps.defined())
    errors.gradient(file, "grad.param.conv.weight", taps.grad().reshape({q.dim(1), 1, config.conv_kernel, 1}));

  if (config.exact_when_covered) return errors;
  const nn::NystromFactors factors = nn::nystrom_factors(q, k, mask, config);
  compare(errors, file, "mid.kernel_1", factors.f);
  compare(errors, file, "mid.kernel_2", factors.a);
  compare(errors, file, "mid.kernel_3", factors.s);
  compare(errors, file, "mid.pinv", factors.z);
  return errors;
}

GoldenErrors golden_nystromformer_pinv(const GoldenFile& file, DType dtype) {
  file.tensor("in.matrix", {"batch", "heads", "num_landmarks", "num_landmarks"});
  const Variable matrix(file.input("in.matrix", dtype), true);
  GoldenErrors errors;
  const Variable out = pinv(matrix, pinv_options(file));
  errors.result(file, "out", out.value());
  backward(out, file.input("up.out", dtype));
  errors.gradient(file, "grad.matrix", matrix.grad());
  return errors;
}

}  // namespace subquad::test
