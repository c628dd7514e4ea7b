// Combiner: the mechanism alone, every pattern and option, with its summaries.
#include <bit>
#include <cmath>
#include <set>
#include <sstream>
#include <string>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/nn/attention/combiner.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

class CombinerCase {
 public:
  CombinerCase(const GoldenFile& file, DType dtype) : file_(file), dtype_(dtype), mask_(file.mask()) {
    sizes();
    read_options();
  }

  GoldenErrors run() {
    const Variable q = input("q"), k = input("k"), v = input("v");
    const nn::CombinerLearned learned = parameters();
    const nn::CombinerResult got = nn::combiner_attention(q, k, v, mask_.to(device()), config_, causal_, learned);
    compare(got, 1 / std::sqrt(static_cast<double>(q.dim(3))));
    backward(got.out, here(want("up.out").to(dtype_)));
    compare_gradients();
    return errors_;
  }

 private:
  bool has(const std::string& name) const { return file_.has(name); }
  const Tensor& want(const std::string& name) const { return file_.tensor(name); }

  void sizes() const {
    file_.tensor("in.q", {"batch", "heads", "seq_len", "head_dim"});
    file_.tensor("in.k", {"batch", "heads", "seq_len", "head_dim"});
    file_.tensor("in.v", {"batch", "heads", "seq_len", "value_dim"});
    if (has("param.w_o")) {
      file_.tensor("in.x", {"batch", "seq_len", "model_dim"});
      file_.tensor("param.w_o", {"heads", "", "model_dim"});  // value_dim; with wsum_proj head_dim
      file_.tensor("param.gamma", {"model_dim"});
      file_.tensor("param.beta", {"model_dim"});
      file_.tensor("param.w_k", {"model_dim", "heads", "head_dim"});
    }
    if (file_.says("parameters")) same_parameters();
  }

  // "w_o,gamma,beta,w_k" in any order: those that the file has.
  void same_parameters() const {
    std::set<std::string> named, there;
    std::istringstream list(file_.option("parameters"));
    for (std::string name; std::getline(list, name, ',');) named.insert(name);
    std::ostringstream words;
    for (const auto& [name, value] : file_.tensors()) {
      if (!name.starts_with("param.")) continue;
      there.insert(name.substr(6));
      words << (there.size() > 1 ? "," : "") << name.substr(6);
    }
    if (named != there)
      throw Error(cat("parameters is '", file_.option("parameters"), "', but the file has ", words.str()));
  }

  void read_options() {
    file_.allow("scale", "1/sqrt(head_dim)");
    config_.pattern = nn::parse_combiner_pattern(file_.option("pattern"));
    causal_ = file_.truth("causal");
    if (config_.pattern == nn::CombinerPattern::fixed) {
      std::string pool = file_.option("pool", "max");
      if (pool.starts_with("identity-")) pool = pool.substr(9);
      for (char& c : pool)
        if (c == '-') c = '_';
      config_.pool = nn::parse_combiner_pool(pool);
      config_.segment = file_.number("segment", 1);
      config_.own_span = file_.truth("own_span", false);
    } else if (config_.pattern == nn::CombinerPattern::logsparse) {
      const auto last = static_cast<std::uint64_t>(std::max<Index>(want("in.q").dim(2) - 1, 0));
      file_.allow("levels", std::to_string(std::bit_width(last)));
    } else {
      config_.segment = file_.number("columns", 1);
    }
    if (config_.pattern == nn::CombinerPattern::rowmajor) {
      config_.summary = nn::parse_combiner_summary(file_.option("summary"));
      config_.own_span = file_.truth("own_row", false);
    } else if (config_.pattern != nn::CombinerPattern::fixed) {
      file_.allow("pool", "max");
    }
    if (causal_) config_.own_span = false;  // the reference has no use for it there
  }

  Variable leaf(const std::string& name, const Shape& shape) {
    Variable made(here(want(name).to(dtype_).contiguous().clone().reshape(shape)), true);
    leaves_.emplace_back(name, made);
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
      learned.epsilon = file_.real("layer_norm_eps");
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
    errors_.result(file_, "out", got.out.value());
    if (got.lse.defined()) errors_.result(file_, "mid.lse", real_part(got.lse.value()));
    const auto compare_summary = [&](const std::string& name, const Variable& x, auto as_in_file) {
      if (!x.defined() || (config_.pattern == nn::CombinerPattern::logsparse && !has(name))) return;
      errors_.result(file_, name, as_in_file(x.value()));
    };
    const bool of_tokens = config_.pattern == nn::CombinerPattern::rowmajor;
    const auto as_made = [&](const Tensor& x) { return of_tokens ? real_part(x) : x; };
    compare_summary("mid.q_span", got.q_span, [&](const Tensor& x) {  // the files pool the scaled queries
      Tensor scaled = doubles(x.contiguous()).clone();
      for (double& value : scaled.span<double>()) value *= scale;
      return scaled;
    });
    compare_summary("mid.k_span", got.k_span, as_made);
    compare_summary("mid.v_span", got.v_span, as_made);
  }

  void compare_gradients() {
    for (const auto& [name, variable] : leaves_) {  // "in.q" -> "grad.q", "param.w_k" -> "grad.param.w_k"
      const Tensor got = variable.grad().defined() ? variable.grad() : zeros_like(variable.value());
      errors_.gradient(file_, "grad." + (name.starts_with("in.") ? name.substr(3) : name),
                       got.contiguous().reshape(want(name).shape()));
    }
  }

  const GoldenFile& file_;
  DType dtype_;
  Mask mask_;
  nn::CombinerConfig config_;
  bool causal_ = false;
  std::vector<std::pair<std::string, Variable>> leaves_;
  GoldenErrors errors_;
};

}  // namespace

GoldenErrors golden_combiner_attention(const GoldenFile& file, DType dtype) {
  return CombinerCase(file, dtype).run();
}

}  // namespace subquad::test
