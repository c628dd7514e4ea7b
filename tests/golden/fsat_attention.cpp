// FSAT, our reconstruction: attention over given keys, and the whole module; its steps one by one, then as one.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/gathered_attention.h"
#include "subquad/autograd/ops/hidden_cross.h"
#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/ops/score_heads.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/top_k/top_k.h"
#include "subquad/nn/attention/fsat.h"
#include "subquad/tests/golden/fsat_choice.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

// One file: its tensors as leaves, its options, and the comparison of results up to each sample's length.
class FsatFile {
 public:
  FsatFile(const GoldenFile& file, DType dtype, Index positions)
      : file_(file), dtype_(dtype), mask_(Mask::from_lengths(file.lengths(), positions).to(device())) {}

  const GoldenFile& golden() const { return file_; }
  Tensor input(const std::string& name) const { return file_.input(name, dtype_); }
  const Mask& mask() const { return mask_; }
  DType dtype() const { return dtype_; }

  // A leaf, whose gradient finish() compares; and an inner value, compared up to each sample's length along `dim`.
  Variable leaf(const std::string& name) { return leaves_[name] = Variable(input(name), true); }
  Variable inner(const std::string& name, const Variable& got, int dim) {
    Variable kept = got;
    kept.retain_grad();
    leaves_[name] = kept;
    real_rows(got.value(), name, dim);
    return kept;
  }
  void real_rows(const Tensor& got, const std::string& name, int dim) { errors_.real_rows(file_, name, got, dim); }
  void result(const Tensor& got, const std::string& name) { errors_.result(file_, name, got); }
  void leave_out(const char* what) { errors_.left_out = what; }
  void gradient(const Tensor& got, const std::string& name, const Tensor& of) {
    errors_.gradient(file_, name, got.defined() ? got : zeros_like(of));  // undefined: nothing reached it
  }
  GoldenErrors finish() {
    for (const auto& [name, variable] : leaves_) gradient(variable.grad(), "grad_" + name, variable.value());
    return errors_;
  }

 private:
  const GoldenFile& file_;
  DType dtype_;
  Mask mask_;
  std::map<std::string, Variable> leaves_;
  GoldenErrors errors_;
};

struct ModuleOptions {
  Index heads;
  bool noise;
  bool dense;
  nn::FsatConfig fsat;

  explicit ModuleOptions(const GoldenFile& file)
      : heads(file.number("heads", 1)),
        noise(file.truth("noise", false)),
        dense(file.truth("dense", file.has("out_dense"))),
        fsat{.cross = file.number("cross", 1),
             .hidden = file.number("hidden", 1),
             .lags = file.number("n_lag", 0),
             .columns = file.number("n_col", 0),
             .window = file.number("window", -1),
             .mode = mode(file.option("mode")),
             .truncate = file.truth("truncate"),
             .gamma = file.real("gamma")} {
    if (!noise) fsat.gamma = 0;
    sizes(file);
  }

  static nn::FsatMode mode(const std::string& name) {
    if (name == "st") return nn::FsatMode::straight_through;
    if (name == "bias") return nn::FsatMode::bias;
    throw Error(cat("mode is '", name, "', expected st or bias"));
  }

  void sizes(const GoldenFile& file) const {
    file.tensor("x", {"batch", "length", "width"});
    file.tensor("q", {"batch", "heads", "length", ""});
    file.tensor("lags", {"batch", "heads", "n_lag"});
    file.tensor("cols", {"batch", "heads", "n_col"});
    for (const std::string choice : {"lag", "col"}) {
      file.tensor(choice + "_u", {"heads", "cross"});
      file.tensor(choice + "_w1", {"heads", "cross", "hidden"});
      if (noise) file.tensor("noise_" + choice, {"batch", "heads", "length"});
    }
  }
};

// The keys of a choice, "lag" or "col": scores, and the file's noise where it has some.
Tensor keys_of(const FsatFile& file, const ModuleOptions& options, const std::string& choice, const Variable& score) {
  if (options.fsat.gamma == 0) return score.value();
  return kernels::add(score.value(), kernels::mul_scalar(file.input("noise_" + choice), options.fsat.gamma));
}

// The same of the file's own scores, in float64.
Tensor keys_in(const GoldenFile& file, const ModuleOptions& options, const std::string& choice) {
  const Tensor score = doubles(file.tensor(choice + "_score", {"batch", "heads", "length"})).contiguous();
  if (options.fsat.gamma == 0) return score;
  return kernels::add(score, kernels::mul_scalar(doubles(file.tensor("noise_" + choice)), options.fsat.gamma));
}

// Does the last key taken stand clear of the first one left, by more than float32 rounds scores of that size? By the
// file's own scores, and by the margin that its metadata name.
bool float32_can_choose(const GoldenFile& file, const ModuleOptions& options, const std::string& choice) {
  constexpr double kRounding = 1e-5;  // of the largest key; measured at 4096 positions: 4e-7 of 6e-2
  const Tensor& lengths = file.lengths();
  const Tensor keys = keys_in(file, options, choice);
  double largest = 0;
  for (Index b = 0; b < keys.dim(0); ++b)
    for (Index h = 0; h < keys.dim(1); ++h)
      for (Index i = 0; i < lengths.data<Index>()[b]; ++i) largest = std::max(largest, std::abs(at(keys, {b, h, i})));
  double margin = choice == "lag" ? choice_margin(keys, lengths, options.fsat.lags, options.fsat.window)
                                  : choice_margin(keys, lengths, options.fsat.columns, -1);
  const std::string named = "margin_" + choice;
  if (file.option(named, "inf") != "inf") margin = std::min(margin, file.real(named));
  return margin > kRounding * largest;
}

// Every step from the ops, so that the file's intermediate values and their gradients are seen. Where the dtype
// cannot choose, the choice is by the file's scores.
void check_steps(FsatFile& file, const ModuleOptions& options, bool chooses) {
  const Variable x = file.leaf("x"), source = options.fsat.truncate ? x.detach() : x;
  const Index batch = x.dim(0), positions = x.dim(1), width = x.dim(2), head_width = width / options.heads;
  const auto split = [&](const std::string& name) {
    const Variable y = linear(x, file.leaf("w" + name), file.leaf("b" + name));
    return file.inner(name, transpose(reshape(y, {batch, positions, options.heads, head_width}), 1, 2), 2);
  };
  const Variable q = split("q"), k = split("k"), v = split("v");
  const Variable a = file.inner("a", linear(source, file.leaf("wa"), file.leaf("ba")), 1);
  const Variable b = file.inner("b", linear(source, file.leaf("wb"), Variable()), 1);
  const HiddenCross cross = hidden_cross(a, b, file.mask());
  const auto score = [&](const std::string& name, const Variable& feature) {
    const Variable f = file.inner(name + "_feature", feature, 1);
    return file.inner(name + "_score",
                      score_heads(f, file.leaf(name + "_u"), file.leaf(name + "_w1"), file.leaf(name + "_b1"),
                                  file.leaf(name + "_w2")),
                      2);
  };
  const Variable lag_score = score("lag", cross.lag), col_score = score("col", cross.col);
  const auto choose = [&](const std::string& choice, const Variable& by, Index count, Index window) {
    const Tensor keys = chooses ? keys_of(file, options, choice, by) : here(keys_in(file.golden(), options, choice));
    return kernels::choose_top_k(keys, count, window, file.mask());
  };
  const LagColumns chosen{choose("lag", lag_score, options.fsat.lags, options.fsat.window),
                          choose("col", col_score, options.fsat.columns, -1)};
  file.result(chosen.lags, "lags");
  file.result(chosen.columns, "cols");
  const Tensor lags = chosen.lags.to(kCpu), columns = chosen.columns.to(kCpu);
  file.result(keys_of_queries(lags, columns, file.golden().lengths(), positions), "index");
  const ScoreMode mode = options.fsat.mode == nn::FsatMode::bias ? ScoreMode::bias : ScoreMode::straight_through;
  const AttentionResult result =
      lag_column_attention(q, k, v, chosen, {.lag = lag_score, .col = col_score}, mode, file.mask());
  file.real_rows(result.lse.value(), "lse", 2);
  const Variable mixed = file.inner("heads_out", result.out, 2);
  const Variable merged = reshape(contiguous(transpose(mixed, 1, 2)), {batch, positions, width});
  const Variable out = linear(merged, file.leaf("wo"), file.leaf("bo"));
  file.real_rows(out.value(), "out", 1);
  backward(out, file.input("grad_out"));
}

// The module with the file's noise in place of its own.
class GivenNoise : public nn::FsatAttention {
 public:
  GivenNoise(const nn::Place& place, const nn::AttentionConfig& config, const FsatFile& file)
      : FsatAttention(place, config), file_(file), gamma_(config.fsat.gamma) {}

 protected:
  Tensor noise(std::string_view choice, const Variable& /*score*/, const RandomState& /*rng*/) const override {
    return kernels::mul_scalar(file_.input(choice == "lags" ? "noise_lag" : "noise_col"), gamma_);
  }

 private:
  const FsatFile& file_;
  double gamma_;
};

// The module's names of the file's parameters.
const std::map<std::string, std::string> kParameters = {
    {"query.weight", "wq"},    {"query.bias", "bq"},      {"key.weight", "wk"},      {"key.bias", "bk"},
    {"value.weight", "wv"},    {"value.bias", "bv"},      {"out.weight", "wo"},      {"out.bias", "bo"},
    {"cross_a.weight", "wa"},  {"cross_a.bias", "ba"},    {"cross_b.weight", "wb"},  {"lag_head.u", "lag_u"},
    {"lag_head.w1", "lag_w1"}, {"lag_head.b1", "lag_b1"}, {"lag_head.w2", "lag_w2"}, {"col_head.u", "col_u"},
    {"col_head.w1", "col_w1"}, {"col_head.b1", "col_b1"}, {"col_head.w2", "col_w2"}};

void check_module(FsatFile& file, const ModuleOptions& options) {
  const Variable x(file.input("x"), true);
  GivenNoise attention(nn::Place(1, file.dtype(), device()),
                       {.width = x.dim(2), .heads = options.heads, .fsat = options.fsat}, file);
  nn::StateDict state;
  for (const auto& [ours, theirs] : kParameters) state.insert_or_assign(ours, file.input(theirs));
  attention.load_state_dict(state);
  const Variable out = attention.forward({.values = x, .data = x, .mask = file.mask(), .rng = {}});
  file.real_rows(out.value(), "out", 1);
  backward(out, file.input("grad_out"));
  file.gradient(x.grad(), "grad_x", x.value());
  for (const Variable& p : attention.parameters())
    file.gradient(p.grad(), "grad_" + kParameters.at(p.name()), p.value());
  if (!options.dense) return;
  file.real_rows(out.value(), "out_dense", 1);
  file.gradient(x.grad(), "dense_grad_x", x.value());
  for (const Variable& p : attention.parameters()) {  // wq, bq, ... bo: what dense attention has, too
    const std::string& name = kParameters.at(p.name());
    if (name.size() == 2 && std::string_view("qkvo").find(name.back()) != std::string_view::npos)
      file.gradient(p.grad(), "dense_grad_" + name, p.value());
  }
}

}  // namespace

GoldenErrors golden_fsat_gather(const GoldenFile& golden, DType dtype) {
  for (const char* name : {"q", "k", "v"}) golden.tensor(name, {"batch", "heads", "length", "width"});
  const Tensor& index = golden.tensor("index", {"batch", "heads", "length", "slots"});
  FsatFile file(golden, dtype, golden.tensor("q").dim(2));
  const Variable bias = golden.truth("with_bias") ? file.leaf("bias") : Variable();
  const Variable q = file.leaf("q"), k = file.leaf("k"), v = file.leaf("v");
  const AttentionResult result = gathered_attention(q, k, v, here(index), bias, file.mask());
  file.result(result.out.value(), "out");
  // A row without any key: -inf here, 0 in the file.
  const Tensor lse = result.lse.value(), zero = zeros_like(lse);
  const Tensor has_keys = kernels::less(kernels::mul_scalar(lse, 0), full({1}, 1, dtype, lse.device()));
  file.result(kernels::where(has_keys, lse, zero), "lse");
  backward(result.out, file.input("grad_out"));
  return file.finish();
}

GoldenErrors golden_fsat_module(const GoldenFile& golden, DType dtype) {
  const ModuleOptions options(golden);
  FsatFile file(golden, dtype, golden.tensor("x").dim(1));
  const bool lags = float32_can_choose(golden, options, "lag"), columns = float32_can_choose(golden, options, "col");
  const bool chooses = dtype != kFloat32 || (lags && columns);
  check_steps(file, options, chooses);
  if (chooses)
    check_module(file, options);
  else
    file.leave_out(kChoiceLeftOut);
  return file.finish();
}

}  // namespace subquad::test
