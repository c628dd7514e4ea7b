// Combiner: the mechanism alone, every pattern and option, with its summaries.
#include <bit>
#include <cmath>
#include <string>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/nn/attention/combiner.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

class CombinerCase {
 public:
  CombinerCase(const SafetensorsFile& file, DType dtype) : file_(file), dtype_(dtype) {
    if (has("in.mask")) {
      const Tensor real = doubles(want("in.mask"));
      Tensor flags = empty(real.shape(), kBool, kCpu);
      for (Index i = 0; i < real.size(); ++i) flags.data<bool>()[i] = real.data<double>()[i] != 0;
      mask_ = Mask::from_bool(flags);
    }
    read_options();
  }

  GoldenErrors run() {
    const Variable q = input("q"), k = input("k"), v = input("v");
    const nn::CombinerLearned learned = parameters();
    const nn::CombinerResult got = nn::combiner_attention(q, k, v, mask_, config_, causal_, learned);
    compare(got, 1 / std::sqrt(static_cast<double>(q.dim(3))));
    backward(got.out, want("up.out").to(dtype_));
    compare_gradients();
    return errors_;
  }

 private:
  bool has(const std::string& name) const { return file_.tensors.contains(name); }
  const Tensor& want(const std::string& name) const { return file_.tensors.at(name); }
  std::string option(const std::string& name) const { return file_.metadata.at(name); }
  std::string option(const std::string& name, const std::string& otherwise) const {
    return file_.metadata.contains(name) ? option(name) : otherwise;
  }

  bool flag(const std::string& name, const std::string& value) const {
    if (value == "true" || value == "1") return true;
    if (value == "false" || value == "0") return false;
    throw Error(cat("combiner: ", name, " is '", value, "', expected true or false"));
  }

  void read_options() {
    if (std::stod(option("dropout", "0")) != 0) throw Error(cat("combiner: dropout is ", option("dropout")));
    if (option("scale", "1/sqrt(head_dim)") != "1/sqrt(head_dim)")
      throw Error(cat("combiner: scale is '", option("scale"), "', expected 1/sqrt(head_dim)"));
    config_.pattern = nn::parse_combiner_pattern(option("pattern"));
    causal_ = flag("causal", option("causal"));
    if (config_.pattern == nn::CombinerPattern::fixed) {
      std::string pool = option("pool", "max");
      if (pool.starts_with("identity-")) pool = pool.substr(9);
      for (char& c : pool)
        if (c == '-') c = '_';
      config_.pool = nn::parse_combiner_pool(pool);
      config_.segment = std::stoll(option("segment"));
      config_.own_span = flag("own_span", option("own_span", "false"));
    } else if (config_.pattern == nn::CombinerPattern::logsparse) {
      const auto last = static_cast<std::uint64_t>(std::max<Index>(want("in.q").dim(2) - 1, 0));
      const int levels = static_cast<int>(std::bit_width(last));
      if (std::stoi(option("levels", std::to_string(levels))) != levels)
        throw Error(cat("combiner: levels is ", option("levels"), ", expected ", levels));
    } else {
      config_.segment = std::stoll(option("columns"));
    }
    if (config_.pattern == nn::CombinerPattern::rowmajor) {
      config_.summary = nn::parse_combiner_summary(option("summary"));
      config_.own_span = flag("own_row", option("own_row", "false"));
    } else if (config_.pattern != nn::CombinerPattern::fixed && option("pool", "max") != "max") {
      throw Error(cat("combiner: pool is ", option("pool"), ", expected max"));
    }
    if (causal_) config_.own_span = false;  // the reference has no use for it there
  }

  Variable leaf(const std::string& name, const Shape& shape) {
    Variable made(want(name).to(dtype_).contiguous().clone().reshape(shape), true);
    leaves_.emplace_back("grad." + (name.starts_with("in.") ? name.substr(3) : name), made);
    return made;
  }
  Variable input(const std::string& name) { return leaf("in." + name, want("in." + name).shape()); }

  nn::CombinerLearned parameters() {
    nn::CombinerLearned learned;
    if (has("param.w_pool_q")) learned.pool_q = leaf("param.w_pool_q", want("param.w_pool_q").shape());
    if (has("param.w_pool_k")) learned.pool_k = leaf("param.w_pool_k", want("param.w_pool_k").shape());
    if (has("in.x")) learned.x = input("x");
    if (has("param.w_o")) {  // [H, C, D] and [D, H, E]
      const Index width = want("param.w_o").dim(2);
      learned.w_o = leaf("param.w_o", {want("param.w_o").size() / width, width});
      learned.w_k = leaf("param.w_k", {width, want("param.w_k").size() / width});
      learned.gamma = leaf("param.gamma", {width});
      learned.beta = leaf("param.beta", {width});
      learned.epsilon = std::stod(option("layer_norm_eps"));
    }
    return learned;
  }

  // The files hold 0 where nothing is real: the lse of padded queries (here -inf), summaries of padded tokens.
  Tensor real_part(const Tensor& x) const {
    Tensor out = doubles(x).clone();
    if (!mask_.defined() || x.dim(2) != mask_.real.dim(1)) return out;
    for (Index b = 0; b < x.dim(0); ++b)
      for (Index i = 0; i < x.dim(2); ++i) {
        Tensor row = out.select(0, b).select(1, i);
        if (at(mask_.real, {b, i}) == 0) fill(row, 0);
      }
    return out;
  }

  void compare(const nn::CombinerResult& got, double scale) {
    errors_.result(got.out.value(), want("out"));
    if (has("mid.lse")) errors_.result(real_part(got.lse.value()), want("mid.lse"));
    if (has("mid.q_span")) {  // the files pool the scaled queries
      Tensor scaled = doubles(got.q_span.value().contiguous()).clone();
      for (double& x : scaled.span<double>()) x *= scale;
      errors_.result(scaled, want("mid.q_span"));
    }
    const bool of_tokens = config_.pattern == nn::CombinerPattern::rowmajor;
    const auto summary = [&](const Variable& x) { return of_tokens ? real_part(x.value()) : x.value(); };
    if (has("mid.k_span")) errors_.result(summary(got.k_span), want("mid.k_span"));
    if (has("mid.v_span")) errors_.result(summary(got.v_span), want("mid.v_span"));
  }

  void compare_gradients() {
    for (const auto& [name, variable] : leaves_) {
      const Tensor expected = want(name);
      const Tensor got = variable.grad().defined() ? variable.grad() : zeros_like(variable.value());
      errors_.gradient(got.contiguous().reshape(expected.shape()), expected);
    }
  }

  const SafetensorsFile& file_;
  DType dtype_;
  Mask mask_;
  nn::CombinerConfig config_;
  bool causal_ = false;
  std::vector<std::pair<std::string, Variable>> leaves_;
  GoldenErrors errors_;
};

}  // namespace

GoldenErrors golden_combiner_attention(const SafetensorsFile& file, DType dtype) {
  return CombinerCase(file, dtype).run();
}

}  // namespace subquad::test
