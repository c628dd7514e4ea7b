// A training step captured once and replayed is the eager step bit for bit: nothing in it waits for the device, depends
// on a value that the host knows, or moves in memory.
#include "subquad/core/graph.h"
#include "subquad/core/precision.h"
#include "subquad/nn/classifier.h"
#include "subquad/nn/losses.h"
#include "subquad/nn/optim/clip.h"
#include "subquad/nn/optim/optimizer.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

struct Options {
  Pooling pooling;
  NormOrder norm;
  bool checkpoint_layers;
  const char* optimizer;
  Precision precision;
};

// A small model in training on one fixed batch; rate and random numbers change from step to step.
class Training {
 public:
  explicit Training(const Options& options)
      : precision_(options.precision),
        model_(test::place(kFloat32), config(options)),
        arena_(model_),
        optimizer_(make_optimizer(arena_, {.kind = options.optimizer, .weight_decay = 0.1, .momentum = 0.9})) {}

  void eager_step() {
    prepare();
    step();
  }

  void replayed_step() {
    prepare();
    if (!graph_.defined()) graph_ = Graph::capture(test::device(), [&] { step(); });
    graph_.replay();
  }

  Tensor values() const { return arena_.values(); }
  Tensor loss() const { return loss_; }
  Index steps() const { return optimizer_->steps(); }

 private:
  static SequenceClassifierConfig config(const Options& options) {
    return {.vocabulary = 7,
            .classes = 3,
            .max_length = 6,
            .width = 8,
            .layers = 1,
            .hidden = 12,
            .head_hidden = {10},
            .norm = options.norm,
            .dropout = 0.1,
            .attention_dropout = 0.1,
            .pooling = options.pooling,
            .checkpoint_layers = options.checkpoint_layers};
  }

  void prepare() {
    fill(rng_.step, static_cast<double>(++count_));
    optimizer_->set_rate(1e-2 / static_cast<double>(count_));
  }

  void step() {
    const PrecisionGuard guard(precision_);
    arena_.zero_grad();
    const Variable loss = cross_entropy(model_(tokens_, mask_, rng_), labels_);
    backward(loss);
    optimizer_->step(clip_global_norm(arena_, 0.5).scale);
    loss_ = loss.value();
  }

  Precision precision_;
  SequenceClassifier model_;
  ParameterArena arena_;
  std::unique_ptr<Optimizer> optimizer_;
  Graph graph_;
  Index count_ = 0;
  Tensor loss_;
  Tensor tokens_ = test::random_tokens(3, 5, 7, 1);
  Tensor labels_ = test::here(tensor<std::int64_t>({0, 1, 2}, {3}));
  Mask mask_ = test::prefix_mask({5, 3, 1}, 5);
  RandomState rng_ = test::random_state(3);
};

TEST_SUITE("cuda") {  // no graphs elsewhere
  TEST_CASE("a captured training step equals the eager one, bit for bit") {
    for (const Options& options : {Options{Pooling::mean, NormOrder::pre, false, "adamw", Precision::fp32},
                                   Options{Pooling::cls, NormOrder::post, true, "adam", Precision::tf32},
                                   Options{Pooling::flatten, NormOrder::pre, false, "sgd", Precision::bf16}}) {
      CAPTURE(options.optimizer);
      Training eager(options), captured(options);
      eager.eager_step();
      captured.eager_step();  // makes handles and caches
      for (int step = 2; step <= 4; ++step) {
        eager.eager_step();
        captured.replayed_step();
        CAPTURE(step);
        CHECK(test::same_bits(captured.loss(), eager.loss()));
        CHECK(test::same_bits(captured.values(), eager.values()));
        CHECK_EQ(captured.steps(), step);
      }
    }
  }
}

}  // namespace
}  // namespace subquad::nn
