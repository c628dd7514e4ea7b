// Dense softmax attention: the core operation alone, then the whole module with its projections.
#include <string>

#include "subquad/kernels/attention/attention.h"
#include "subquad/nn/attention/softmax.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

class SoftmaxCase {
 public:
  SoftmaxCase(const GoldenFile& file, DType dtype)
      : file_(file),
        dtype_(dtype),
        causal_(file.truth("causal")),
        heads_(file.number("heads", 1)),
        mask_(Mask::from_lengths(file.lengths(), file.tensor("x", {"batch", "length", "width"}).dim(1)).to(device())) {
    file.tensor("q", {"batch", "heads", "length", ""});
  }

  GoldenErrors run() {
    core();
    module();
    return errors_;
  }

 private:
  Tensor input(const std::string& name) const { return file_.input(name, dtype_); }

  void core() {
    const kernels::AttentionOptions options{.causal = causal_};
    const Tensor q = input("q"), k = input("k"), v = input("v");
    const kernels::AttentionOutput f = kernels::attention(q, k, v, mask_, options);
    errors_.real_rows(file_, "heads_out", f.out, 2);
    errors_.real_rows(file_, "lse", f.lse, 2);
    const auto [dq, dk, dv] = kernels::attention_grad(input("grad_heads_out"), {}, q, k, v, f, mask_, options);
    errors_.gradient(file_, "grad_q", dq);
    errors_.gradient(file_, "grad_k", dk);
    errors_.gradient(file_, "grad_v", dv);
  }

  void module() {
    const Variable x(input("x"), true);
    nn::SoftmaxAttention attention(nn::Place(1, dtype_, device()),
                                   {.width = x.dim(2), .heads = heads_, .causal = causal_});
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
    errors_.real_rows(file_, "out", out.value(), 1);
    backward(out, input("grad_out"));
    errors_.gradient(file_, "grad_x", x.grad());
    for (const Variable& p : attention.parameters()) {  // "query.weight" -> "grad_wq"
      const bool is_weight = p.name().ends_with(".weight");
      errors_.gradient(file_, std::string("grad_") + (is_weight ? "w" : "b") + p.name().front(), p.grad());
    }
  }

  const GoldenFile& file_;
  DType dtype_;
  bool causal_;
  Index heads_;
  Mask mask_;
  GoldenErrors errors_;
};

}  // namespace

GoldenErrors golden_softmax(const GoldenFile& file, DType dtype) {
  return SoftmaxCase(file, dtype).run();
}

}  // namespace subquad::test
