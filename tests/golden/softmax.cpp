// Dense softmax attention: the core operation alone, then the whole module with its projections.
#include <string>

#include "subquad/kernels/attention/attention.h"
#include "subquad/nn/attention/softmax.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

class SoftmaxCase {
 public:
  SoftmaxCase(const SafetensorsFile& file, DType dtype)
      : file_(file),
        dtype_(dtype),
        causal_(file.metadata.at("causal") == "1"),
        lengths_(file.tensors.at("lengths")),
        mask_(Mask::from_lengths(lengths_, file.tensors.at("x").dim(1)).to(device())) {}

  GoldenErrors run() {
    core();
    module();
    return errors_;
  }

 private:
  const Tensor& want(const std::string& name) const { return file_.tensors.at(name); }
  Tensor input(const std::string& name) const { return here(want(name).to(dtype_)); }

  // Results at padded positions are nobody's business: each sample is compared up to its length along `dim`.
  void real_rows(const Tensor& got, const std::string& name, int dim) {
    for (Index b = 0; b < lengths_.dim(0); ++b) {
      const Index length = lengths_.data<Index>()[b];
      const auto cut = [&](const Tensor& t) { return t.slice(0, b, b + 1).slice(dim, 0, length); };
      errors_.result(cut(got), cut(want(name)));
    }
  }

  void core() {
    const kernels::AttentionOptions options{.causal = causal_};
    const Tensor q = input("q"), k = input("k"), v = input("v");
    const kernels::AttentionOutput f = kernels::attention(q, k, v, mask_, options);
    real_rows(f.out, "heads_out", 2);
    real_rows(f.lse, "lse", 2);
    const auto [dq, dk, dv] = kernels::attention_grad(input("grad_heads_out"), {}, q, k, v, f, mask_, options);
    errors_.gradient(dq, want("grad_q"));
    errors_.gradient(dk, want("grad_k"));
    errors_.gradient(dv, want("grad_v"));
  }

  void module() {
    const Variable x(input("x"), true);
    nn::SoftmaxAttention attention(
        nn::Place(1, dtype_, device()),
        {.width = x.dim(2), .heads = std::stoll(file_.metadata.at("heads")), .causal = causal_});
    attention.load_state_dict({{"query.weight", input("wq")},
                               {"query.bias", input("bq")},
                               {"key.weight", input("wk")},
                               {"key.bias", input("bk")},
                               {"value.weight", input("wv")},
                               {"value.bias", input("bv")},
                               {"out.weight", input("wo")},
                               {"out.bias", input("bo")}});
    attention.eval();
    const Variable out = attention.forward({.values = x, .data = x, .mask = mask_, .rng = {}});
    real_rows(out.value(), "out", 1);
    backward(out, input("grad_out"));
    errors_.gradient(x.grad(), want("grad_x"));
    for (const Variable& p : attention.parameters()) {  // "query.weight" -> "grad_wq"
      const bool is_weight = p.name().ends_with(".weight");
      errors_.gradient(p.grad(), want(std::string("grad_") + (is_weight ? "w" : "b") + p.name().front()));
    }
  }

  const SafetensorsFile& file_;
  DType dtype_;
  bool causal_;
  Tensor lengths_;
  Mask mask_;
  GoldenErrors errors_;
};

}  // namespace

GoldenErrors golden_softmax(const SafetensorsFile& file, DType dtype) {
  return SoftmaxCase(file, dtype).run();
}

}  // namespace subquad::test
