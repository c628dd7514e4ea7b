// Paramixer: the sparse product alone, and a block with its perceptrons.
#include <algorithm>
#include <string>

#include "subquad/autograd/ops/factor_mlp.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

// Are they links of the protocol? Circular ones are the same modulo `positions`; cdil's dilation and butterfly's
// distance can be any power of two.
bool are_of(nn::LinkProtocol protocol, const Links& links, Index positions) {
  const Index round = std::max<Index>(positions, 1);
  const auto same = [&](const Links& known) {
    const auto equal = [&](Index a, Index b) {
      return links.rule == kernels::LinkRule::flip ? a == b : (a % round - b % round) % round == 0;
    };
    return std::equal(links.offsets.begin(), links.offsets.end(), known.offsets.begin(), known.offsets.end(), equal);
  };
  if (protocol == nn::LinkProtocol::chord) return same(kernels::chord_links(links.count()));
  if (protocol == nn::LinkProtocol::cdil && links.count() % 2 == 0) return false;
  for (Index step = 1; step <= Index{1} << 40; step *= 2)
    if (same(protocol == nn::LinkProtocol::cdil ? kernels::cdil_links(step, links.count())
                                                : kernels::butterfly_links(step)))
      return true;
  return false;
}

// One or, with a leading axis M, several independent products.
class ProductCase {
 public:
  ProductCase(const GoldenFile& file, DType dtype) : file_(file), dtype_(dtype) {}

  GoldenErrors run() {
    file_.no_mask();
    protocol_ = nn::parse_link_protocol(file_.option("protocol"));
    if (file_.tensor("in.weights").rank() != 4) {
      file_.tensor("in.weights", {"batch", "seq_len", "n_links"});
      file_.tensor("in.values", {"batch", "seq_len", "dim"});
      file_.allow("n_factors", "1");
      product([&](const std::string& name) { return file_.tensor(name); });
      return errors_;
    }
    const Index products = file_.tensor("in.weights", {"n_factors", "batch", "seq_len", "n_links"}).dim(0);
    file_.tensor("in.values", {"n_factors", "batch", "seq_len", "dim"});
    for (Index m = 0; m < products; ++m)
      product([&](const std::string& name) {
        const Tensor& all = file_.tensor(name);
        if (all.rank() == 0 || all.dim(0) != products)
          throw ShapeError(cat(name, " is ", all.shape(), ", expected ", products, " products as in.weights has"));
        return all.select(0, m);
      });
    return errors_;
  }

 private:
  template <class Get>
  void product(const Get& get) {
    const auto in = [&](const std::string& name) { return here(get(name).to(dtype_)).contiguous(); };
    const Tensor offsets = get("offsets").contiguous(), weights = in("in.weights"), values = in("in.values");
    const Links links = links_of(offsets, values.dim(1));
    errors_.result("out", kernels::chord_matmul(weights, values, links), get("out"));
    const kernels::ChordGrads grads = kernels::chord_matmul_grad(in("up.out"), weights, values, links);
    errors_.gradient("grad.weights", grads.dweights, get("grad.weights"));
    errors_.gradient("grad.values", grads.dvalues, get("grad.values"));

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
    errors_.result("mid.dense", kernels::chord_matmul(weights, here(identity), links), get("mid.dense"));
    errors_.result("index.rows", rows, get("index.rows"));
    errors_.result("index.cols", columns, get("index.cols"));
  }

  Links links_of(const Tensor& offsets, Index positions) const {
    const bool flip = protocol_ == nn::LinkProtocol::butterfly;
    const Links links{flip ? kernels::LinkRule::flip : kernels::LinkRule::circular,
                      {offsets.span<Index>().begin(), offsets.span<Index>().end()}};
    if (are_of(protocol_, links, positions)) return links;
    std::string text;
    for (const Index offset : links.offsets) text += cat(' ', offset);
    throw Error(cat("protocol is '", file_.option("protocol"), "', which has no links with offsets", text));
  }

  const GoldenFile& file_;
  DType dtype_;
  nn::LinkProtocol protocol_ = nn::LinkProtocol::chord;
  GoldenErrors errors_;
};

class BlockCase {
 public:
  BlockCase(const GoldenFile& file, DType dtype) : file_(file), dtype_(dtype) {}

  GoldenErrors run() {
    file_.allow("activation", "gelu (erf)");
    for (const char* name : {"in.values", "in.data"}) file_.tensor(name, {"batch", "seq_len", "dim"});
    nn::AttentionConfig config{
        .kind = "paramixer", .width = file_.number("dim", 1), .max_length = file_.number("seq_len", 1)};
    config.paramixer = paramixer_options(file_, "param.");
    nn::Paramixer block(nn::Place(1, dtype_, device()), config);
    block.load_state_dict(paramixer_state(file_, "param.", config.paramixer.factors, dtype_));
    module(block);
    intermediates(block, config.paramixer.residual);
    return errors_;
  }

 private:
  Tensor input(const std::string& name) const { return file_.input(name, dtype_); }

  void module(const nn::Paramixer& block) {
    const Variable values(input("in.values"), true), data(input("in.data"), true);
    const Variable out = block.forward({.values = values, .data = data, .mask = {}, .rng = {}});
    errors_.result(file_, "out", out.value());
    backward(out, input("up.out"));
    errors_.gradient(file_, "grad.values", values.grad());
    errors_.gradient(file_, "grad.data", data.grad());
    const nn::StateDict wanted =
        paramixer_state(file_, "grad.param.", static_cast<Index>(block.links().size()), kFloat64);
    for (const Variable& p : block.parameters()) errors_.gradient("grad of " + p.name(), p.grad(), wanted.at(p.name()));
  }

  // V_0, the weights of every factor, and V_1 ... V_M one product at a time.
  void intermediates(const nn::Paramixer& block, MixResidual residual) {
    const nn::StateDict state = block.state_dict();
    const Variable w = block.link_weights({.values = {}, .data = Variable(input("in.data")), .mask = {}, .rng = {}});
    const auto g = [&](const char* name) { return Variable(state.at(std::string("g.") + name)); };
    const Variable v0 = select(factor_mlp(Variable(input("in.values")), g("first.weight"), g("first.bias"),
                                          g("second.weight"), g("second.bias")),
                               0, 0);
    errors_.result(file_, "mid.V0", v0.value());
    for (std::size_t m = 1; m <= block.links().size(); ++m) {
      const Index factors = static_cast<Index>(m);
      errors_.result(file_, cat("mid.W", m), w.value().select(0, factors - 1));
      const std::vector<Links> first(block.links().begin(), block.links().begin() + factors);
      const Variable v = chord_chain(slice(w, 0, 0, factors), v0, first, residual);
      errors_.result(file_, cat("mid.V", m), v.value());
    }
  }

  const GoldenFile& file_;
  DType dtype_;
  GoldenErrors errors_;
};

}  // namespace

nn::StateDict paramixer_state(const GoldenFile& file, const std::string& prefix, Index factors, DType dtype) {
  nn::StateDict state;
  for (const auto& [theirs, ours] : {std::pair{"network.0.", "first."}, std::pair{"network.2.", "second."}}) {
    const auto layer = [&, theirs = theirs](const std::string& of, const char* kind) {
      const std::string name = prefix + of + theirs + kind;
      if (kind == std::string("bias")) return file.tensor(name, {""}).to(dtype);
      return file.tensor(name, {"", ""}).to(dtype).transpose(0, 1);  // theirs are [out, in]
    };
    for (const char* kind : {"weight", "bias"}) {
      const Tensor g = layer("g.", kind);
      Tensor f = empty(layer("fs.0.", kind).shape().inserted(0, factors), dtype, kCpu);
      for (Index m = 0; m < factors; ++m) {
        const Tensor one = layer(cat("fs.", m, "."), kind);
        Tensor place = f.select(0, m);
        if (one.shape() != place.shape())
          throw ShapeError(cat(prefix, "fs.", m, ".", theirs, kind, " has another shape than ", prefix, "fs.0."));
        copy(one, place);
      }
      state[std::string("g.") + ours + kind] = here(g.unsqueeze(0).contiguous());
      state[std::string("f.") + ours + kind] = here(f);
    }
  }
  return state;
}

nn::ParamixerConfig paramixer_options(const GoldenFile& file, const std::string& prefix) {
  file.no_mask();
  file.tensor(prefix + "g.network.0.weight", {"hidden", "dim"});
  file.tensor(prefix + "fs.0.network.2.weight", {"n_links", "hidden"});
  const Index factors = file.count("n_factors", prefix + "fs.", ".network.0.weight");
  const nn::FactorRule rule = nn::parse_factor_rule(file.option("factor_rule"));
  const Index ruled = nn::factor_count(file.number("seq_len", 1), rule);
  if (ruled != factors)
    throw Error(cat("n_factors is ", factors, ", but factor_rule '", file.option("factor_rule"), "' makes ", ruled,
                    " of seq_len ", file.option("seq_len")));
  return {.protocol = nn::parse_link_protocol(file.option("protocol")),
          .factors = factors,
          .links = file.number("n_links", 1),
          .hidden = file.number("hidden", 1),
          .residual = nn::parse_mix_residual(file.option("residual"))};
}

GoldenErrors golden_chord_matmul(const GoldenFile& file, DType dtype) {
  return ProductCase(file, dtype).run();
}

GoldenErrors golden_paramixer_block(const GoldenFile& file, DType dtype) {
  return BlockCase(file, dtype).run();
}

}  // namespace subquad::test
