// A sixth attention by hand, trained at once: linear attention (Katharopoulos et al. 2020, equations 4 to 7). O(N E^2).
//   out[i] = phi(q[i]) S / (phi(q[i]) . z)
//   S = sum_j phi(k[j])^T v[j]     z = sum_j phi(k[j])     phi(x) = elu(x) + 1
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/playground/recall.h"
#include "subquad/nn/attention/qkv_attention.h"
#include "subquad/nn/losses.h"
#include "subquad/nn/optim/optimizer.h"
#include "subquad/nn/real_rows.h"

using namespace subquad;

struct LinearAttention : nn::QkvAttention {  // which has the projections; what mix says is all that is new
  LinearAttention(const nn::Place& place, const nn::AttentionConfig& config) : QkvAttention(place, config) {
    if (config.causal) throw Error("linear: causal is true, expected false: S and z sum over later positions, too");
  }
  Variable mix(const nn::AttentionInput& in, const nn::Heads& heads, const Variable& v, bool /*draws*/) const override {
    // 0 at padding, before phi and behind it: what stands there neither weighs nor asks, nor gets a gradient.
    const auto real = [&](const Variable& x) { return transpose(nn::real_rows(transpose(x, 1, 2), in.mask), 1, 2); };
    const auto phi = [](const Variable& x) { return add(exp(neg(relu(neg(x)))), relu(x)); };  // x > 0 ? x + 1 : e^x
    const Variable q = real(phi(real(heads.q))), k = real(phi(real(heads.k)));                // [B, H, N, E]
    const Variable s = matmul(transpose(k, 2, 3), real(v)), z = sum(k, {2}, true);  // [B, H, E, C], [B, H, 1, E]
    return div(matmul(q, s), add_scalar(sum(mul(q, z), {3}, true), 1e-6));          // [B, H, N, C]
  }
};

int train(const std::vector<std::string>& args) {
  CLI::App app("Linear attention learns to recall", "own_attention");
  std::string kind;  // of another one
  bool causal = false;
  app.add_option("kind", kind, "Another one in its place")->check(lra::available(nn::attention_kinds()));
  app.add_flag("--causal", causal, "No position sees a later one");
  if (!lra::parse_options(app, args)) return 0;
  playground::RecallModel model([&](const nn::Place& place, nn::AttentionConfig config) {
    config.kind = kind;
    config.causal = causal;
    return kind.empty() ? std::make_unique<LinearAttention>(place, config) : nn::make_attention(place, config);
  });
  nn::ParameterArena arena(model);
  const auto optimizer = nn::make_optimizer(arena, {.kind = "adam"});
  optimizer->set_rate(3e-3);
  for (int step = 0; step <= 800; ++step) {
    const playground::RecallBatch batch = playground::recall_batch(64, step);  // no sample comes twice
    const Variable logits = model(batch.tokens), loss = nn::cross_entropy(logits, batch.answers);
    arena.zero_grad();
    backward(loss);
    optimizer->step();
    if (step % 100 == 0) model.print_progress(step, loss, logits, batch);
  }
  return 0;
}

int main(int argc, char** argv) {
  return lra::run_program("own_attention", argc, argv, train);
}
