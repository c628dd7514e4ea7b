// Paramixer: the sparse product alone, and a block with its perceptrons.
#include <string>

#include "subquad/autograd/ops/factor_mlp.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

class ParamixerCase {
 public:
  ParamixerCase(const SafetensorsFile& file, DType dtype) : file_(file), dtype_(dtype) {}

 protected:
  const Tensor& want(const std::string& name) const { return file_.tensors.at(name); }
  Tensor input(const std::string& name) const { return here(want(name).to(dtype_)); }
  const std::string& option(const char* key) const { return file_.metadata.at(key); }
  Index number(const char* key) const { return std::stoll(option(key)); }
  void expect(const char* key, const std::string& known) const {  // of what a file need not say
    const auto found = file_.metadata.find(key);
    if (found != file_.metadata.end() && found->second != known)
      throw Error(cat(key, " is ", found->second, ", expected ", known));
  }

  const SafetensorsFile& file_;
  DType dtype_;
  GoldenErrors errors_;
};

// One or, with a leading axis M, several independent products.
class ProductCase : public ParamixerCase {
 public:
  using ParamixerCase::ParamixerCase;

  GoldenErrors run() {
    if (option("protocol") != "chord" && option("protocol") != "cdil")
      throw Error("protocol is " + option("protocol") + ", expected chord or cdil");
    const bool stacked = want("in.weights").rank() == 4;
    for (Index m = 0; m < (stacked ? want("in.weights").dim(0) : 1); ++m)
      product([&](const std::string& name) { return stacked ? want(name).select(0, m) : want(name); });
    return errors_;
  }

 private:
  template <class Get>
  void product(const Get& get) {
    const auto in = [&](const std::string& name) { return here(get(name).to(dtype_)).contiguous(); };
    const Tensor offsets = get("offsets").contiguous(), weights = in("in.weights"), values = in("in.values");
    const Links links{kernels::LinkRule::circular, {offsets.span<Index>().begin(), offsets.span<Index>().end()}};
    errors_.result(kernels::chord_matmul(weights, values, links), get("out"));
    const kernels::ChordGrads grads = kernels::chord_matmul_grad(in("up.out"), weights, values, links);
    errors_.gradient(grads.dweights, get("grad.weights"));
    errors_.gradient(grads.dvalues, get("grad.values"));

    const Index batch = values.dim(0), positions = values.dim(1);
    Tensor identity = zeros({batch, positions, positions}, dtype_, kCpu);
    Tensor rows = empty({positions * links.count()}, kInt64, kCpu), columns = empty_like(rows);
    for (Index i = 0; i < positions; ++i) {
      for (Index b = 0; b < batch; ++b) {
        Tensor one = identity.select(0, b).select(0, i).slice(0, i, i + 1);
        fill(one, 1);
      }
      for (Index k = 0; k < links.count(); ++k) {
        rows.data<Index>()[i * links.count() + k] = i;
        columns.data<Index>()[i * links.count() + k] = kernels::linked_column(links, i, k, positions);
      }
    }
    errors_.result(kernels::chord_matmul(weights, here(identity), links), get("mid.dense"));
    errors_.result(rows, get("index.rows"));
    errors_.result(columns, get("index.cols"));
  }
};

class BlockCase : public ParamixerCase {
 public:
  using ParamixerCase::ParamixerCase;

  GoldenErrors run() {
    expect("activation", "gelu (erf)");
    expect("dropout", "0");
    nn::AttentionConfig config{.kind = "paramixer", .width = number("dim"), .max_length = number("seq_len")};
    config.paramixer = {.protocol = nn::parse_link_protocol(option("protocol")),
                        .factors = number("n_factors"),
                        .rule = nn::parse_factor_rule(option("factor_rule")),
                        .links = number("n_links"),
                        .hidden = number("hidden"),
                        .residual = nn::parse_mix_residual(option("residual"))};
    nn::Paramixer block(nn::Place(1, dtype_, device()), config);
    block.load_state_dict(paramixer_state(file_, "param.", config.paramixer.factors, dtype_));
    module(block);
    intermediates(block, config.paramixer.residual);
    return errors_;
  }

 private:
  void module(const nn::Paramixer& block) {
    const Variable values(input("in.values"), true), data(input("in.data"), true);
    const Variable out = block.forward({.values = values, .data = data, .mask = {}, .rng = {}});
    errors_.result(out.value(), want("out"));
    backward(out, input("up.out"));
    errors_.gradient(values.grad(), want("grad.values"));
    errors_.gradient(data.grad(), want("grad.data"));
    const nn::StateDict wanted =
        paramixer_state(file_, "grad.param.", static_cast<Index>(block.links().size()), kFloat64);
    for (const Variable& p : block.parameters()) errors_.gradient(p.grad(), wanted.at(p.name()));
  }

  // V_0, the weights of every factor, and V_1 ... V_M one product at a time.
  void intermediates(const nn::Paramixer& block, MixResidual residual) {
    const nn::StateDict state = block.state_dict();
    const Variable w = block.link_weights({.values = {}, .data = Variable(input("in.data")), .mask = {}, .rng = {}});
    const auto g = [&](const char* name) { return Variable(state.at(std::string("g.") + name)); };
    const Variable v0 = select(factor_mlp(Variable(input("in.values")), g("first.weight"), g("first.bias"),
                                          g("second.weight"), g("second.bias")),
                               0, 0);
    errors_.result(v0.value(), want("mid.V0"));
    for (std::size_t m = 1; m <= block.links().size(); ++m) {
      const Index factors = static_cast<Index>(m);
      errors_.result(w.value().select(0, factors - 1), want(cat("mid.W", m)));
      const std::vector<Links> first(block.links().begin(), block.links().begin() + factors);
      const Variable v = chord_chain(slice(w, 0, 0, factors), v0, first, residual);
      errors_.result(v.value(), want(cat("mid.V", m)));
    }
  }
};

}  // namespace

nn::StateDict paramixer_state(const SafetensorsFile& file, const std::string& prefix, Index factors, DType dtype) {
  nn::StateDict state;
  for (const auto& [theirs, ours] : {std::pair{"network.0.", "first."}, std::pair{"network.2.", "second."}}) {
    const auto layer = [&, theirs = theirs](const std::string& of, const char* kind) {
      const Tensor t = file.tensors.at(prefix + of + theirs + kind).to(dtype);
      return kind == std::string("weight") ? t.transpose(0, 1) : t;  // theirs are [out, in]
    };
    for (const char* kind : {"weight", "bias"}) {
      const Tensor g = layer("g.", kind);
      Tensor f = empty(layer("fs.0.", kind).shape().inserted(0, factors), dtype, kCpu);
      for (Index m = 0; m < factors; ++m) {
        Tensor one = f.select(0, m);
        copy(layer(cat("fs.", m, "."), kind), one);
      }
      state[std::string("g.") + ours + kind] = here(g.unsqueeze(0).contiguous());
      state[std::string("f.") + ours + kind] = here(f);
    }
  }
  return state;
}

GoldenErrors golden_chord_matmul(const SafetensorsFile& file, DType dtype) {
  return ProductCase(file, dtype).run();
}

GoldenErrors golden_paramixer_block(const SafetensorsFile& file, DType dtype) {
  return BlockCase(file, dtype).run();
}

}  // namespace subquad::test
