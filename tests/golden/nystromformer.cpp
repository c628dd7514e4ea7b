// Nystromformer: the mechanism between given q, k and v, and the pseudo-inverse alone.
#include "subquad/tests/golden/nystromformer.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/pinv.h"
#include "subquad/nn/attention/nystrom.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {

const std::string& golden_option(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) throw Error(cat("the metadata names no ", key));
  return found->second;
}

Index golden_number(const SafetensorsFile& file, const std::string& key) {
  const std::string& text = golden_option(file, key);
  std::size_t end = 0;
  Index value = 0;
  try {
    value = std::stoll(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end == 0 || end != text.size()) throw Error(cat(key, " is '", text, "', expected a number"));
  return value;
}

namespace {

// Modes are followed by a remark in brackets: "official", "lucidrains (masked mean, ...)".
nn::NystromMask mask_mode(const SafetensorsFile& file) {
  const std::string& text = golden_option(file, "mask_mode");
  return nn::parse_nystrom_mask(text.substr(0, text.find(' ')));
}

// The official code takes the softmax branch where there are as many landmarks as tokens; a file may say so itself.
bool takes_softmax(const SafetensorsFile& file) {
  if (!file.metadata.contains("branch")) return golden_number(file, "num_landmarks") >= golden_number(file, "seq_len");
  const std::string& branch = golden_option(file, "branch");
  if (branch != "softmax" && branch != "nystrom")
    throw Error(cat("branch is '", branch, "', expected nystrom or softmax"));
  return branch == "softmax";
}

nn::NystromSegments segments(const SafetensorsFile& file, nn::NystromMask mask) {
  const std::string& rule = golden_option(file, "landmark_rule");
  const bool divisible = golden_number(file, "seq_len") % golden_number(file, "num_landmarks") == 0;
  const bool from_end = mask == nn::NystromMask::lucidrains;
  if (rule == "equal segments" && (divisible || takes_softmax(file))) return nn::NystromSegments::padded;
  if (from_end && rule == "left zero padding, then equal segments") return nn::NystromSegments::padded;
  if (!from_end && rule.starts_with("uneven segments")) return nn::NystromSegments::padded;
  if (mask == nn::NystromMask::isolated && (rule.starts_with("per_sample") || rule.starts_with("per sample")))
    return nn::NystromSegments::per_sample;
  throw Error(cat("landmark_rule is '", rule, "', which does not go with mask_mode ", nn::nystrom_mask_name(mask),
                  " and these sizes"));
}

Tensor input(const SafetensorsFile& file, const std::string& name, DType dtype) {
  return here(file.tensors.at(name).to(dtype));
}

// Compares a matrix of the mechanism where the file holds it.
void compare(GoldenErrors& errors, const SafetensorsFile& file, const std::string& name, const Tensor& got) {
  const auto want = file.tensors.find(name);
  if (want != file.tensors.end()) errors.result(got, want->second);
}

}  // namespace

nn::NystromConfig nystrom_options(const SafetensorsFile& file) {
  nn::NystromConfig config{.landmarks = golden_number(file, "num_landmarks"),
                           .conv_kernel = golden_number(file, "conv_kernel_size"),
                           .mask = mask_mode(file),
                           .exact_when_covered = takes_softmax(file)};
  config.segments = segments(file, config.mask);
  if (config.exact_when_covered && golden_option(file, "pinv_init") == "not used") return config;
  config.pinv_iterations = static_cast<int>(golden_number(file, "pinv_iterations"));
  config.pinv_start = nn::parse_pinv_start(golden_option(file, "pinv_init"));
  return config;
}

GoldenErrors golden_nystromformer_attention(const SafetensorsFile& file, DType dtype) {
  const nn::NystromConfig config = nystrom_options(file);
  const auto leaf = [&](const char* name) { return Variable(input(file, name, dtype), true); };
  const Variable q = leaf("in.q"), k = leaf("in.k"), v = leaf("in.v");
  Variable taps;
  if (config.conv_kernel > 0)
    taps = Variable(input(file, "param.conv.weight", dtype).reshape({q.dim(1), config.conv_kernel}), true);
  const Mask mask = Mask::from_bool(file.tensors.at("in.mask").to(kBool)).to(device());

  GoldenErrors errors;
  const Variable out = nn::nystrom_attention(q, k, v, taps, mask, config);
  errors.result(out.value(), file.tensors.at("out"));
  backward(out, input(file, "up.out", dtype));
  errors.gradient(q.grad(), file.tensors.at("grad.q"));
  errors.gradient(k.grad(), file.tensors.at("grad.k"));
  errors.gradient(v.grad(), file.tensors.at("grad.v"));
  if (taps.defined())
    errors.gradient(taps.grad().reshape({q.dim(1), 1, config.conv_kernel, 1}),
                    file.tensors.at("grad.param.conv.weight"));

  if (config.exact_when_covered) return errors;
  const nn::NystromFactors factors = nn::nystrom_factors(q, k, mask, config);
  compare(errors, file, "mid.kernel_1", factors.f);
  compare(errors, file, "mid.kernel_2", factors.a);
  compare(errors, file, "mid.kernel_3", factors.s);
  compare(errors, file, "mid.pinv", factors.z);
  return errors;
}

GoldenErrors golden_nystromformer_pinv(const SafetensorsFile& file, DType dtype) {
  const PinvOptions options{.iterations = static_cast<int>(golden_number(file, "pinv_iterations")),
                            .start = nn::parse_pinv_start(golden_option(file, "pinv_init"))};
  const Variable matrix(input(file, "in.matrix", dtype), true);
  GoldenErrors errors;
  const Variable out = pinv(matrix, options);
  errors.result(out.value(), file.tensors.at("out"));
  backward(out, input(file, "up.out", dtype));
  errors.gradient(matrix.grad(), file.tensors.at("grad.matrix"));
  return errors;
}

}  // namespace subquad::test
