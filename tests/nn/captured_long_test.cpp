// An encoder layer on sequences so long that its attention launches other kernels than on short ones: captured and
// replayed it is the eager layer bit for bit, and nothing in it waits for the device. Those kernels are
//
//   nystrom     attention_join_sections and attention_add_sections, of few queries or keys against many
//   combiner    logsparse: span_pool_join, span_attention_join, block_attention_sum_pieces
//               fixed: block_attention_sum_chunks
//   fsat        cyclic_long.cuh; from 16384 positions on top_k_candidates
//   paramixer   the factors of a chain one by one
#include "subquad/core/graph.h"
#include "subquad/nn/encoder.h"
#include "subquad/nn/parameter_arena.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

// One layer in training, and one sample of it with some padding.
class LongLayer {
 public:
  explicit LongLayer(const AttentionConfig& attention)
      : layer_(test::place(kFloat32), {.attention = attention, .hidden = 8, .dropout = 0.1}),
        arena_(layer_),
        width_(attention.width) {}

  void set_positions(Index positions) {
    x_ = Variable(test::normal({1, positions, width_}, kFloat32, 1), true);
    upstream_ = test::normal(x_.shape(), kFloat32, 2);
    mask_ = test::prefix_mask({positions - 7}, positions);
  }

  void step() {
    arena_.zero_grad();
    x_.zero_grad();
    const Variable out = layer_(x_, mask_, rng_);
    backward(out, upstream_);
    out_ = out.value();
  }

  // The result and all gradients, on the CPU.
  std::vector<Tensor> results() const { return {out_.to(kCpu), x_.grad().to(kCpu), arena_.gradients().to(kCpu)}; }

 private:
  EncoderLayer layer_;
  ParameterArena arena_;
  Index width_;
  RandomState rng_ = test::random_state(1);
  Variable x_;
  Tensor upstream_, out_;
  Mask mask_;
};

void check_captured(LongLayer& layer, Index positions, bool runs) {
  CAPTURE(positions);
  layer.set_positions(positions);
  synchronize(test::device());
  std::uint64_t before = device_waits(test::device());
  std::vector<Tensor> eager;
  if (runs) {
    layer.step();
    CHECK_EQ(device_waits(test::device()), before);
    eager = layer.results();
    before = device_waits(test::device());
  }
  Graph graph = Graph::capture(test::device(), [&] { layer.step(); });
  if (runs) graph.replay();
  CHECK_EQ(device_waits(test::device()), before);
  if (!runs) return;
  const std::vector<Tensor> replayed = layer.results();
  for (std::size_t i = 0; i < eager.size(); ++i) {
    CAPTURE(i);
    CHECK(test::same_bits(replayed[i], eager[i]));
  }
}

constexpr Index kLongest = 17000;

AttentionConfig config_of(const std::string& kind) {
  AttentionConfig config = {.kind = kind, .width = 8, .max_length = kLongest, .dropout = 0.1};
  config.nystrom.landmarks = 8;
  config.fsat.cross = 2;
  config.fsat.hidden = 4;
  config.fsat.lags = 4;
  config.fsat.columns = 2;
  config.fsat.window = 1;
  config.paramixer.factors = 2;
  config.paramixer.links = 3;
  config.paramixer.hidden = 2;
  config.local.window = 2;
  return config;
}

// Long enough for what is listed above, but for top_k_candidates, which is only recorded.
Index positions_of(const AttentionConfig& config) {
  if (config.kind == "fsat") return 4200;
  if (config.kind == "paramixer") return 7300;
  return 2100;
}

TEST_SUITE("cuda") {  // no graphs elsewhere
  TEST_CASE("a captured layer equals the eager one on long sequences, bit for bit") {
    std::vector<AttentionConfig> configs;
    for (const std::string& kind : attention_kinds()) configs.push_back(config_of(kind));
    configs.push_back(config_of("combiner"));
    configs.back().combiner.pattern = CombinerPattern::logsparse;
    for (const AttentionConfig& config : configs) {
      CAPTURE(config.kind);
      LongLayer layer(config);
      check_captured(layer, positions_of(config), !test::interpreted() || config.kind != "softmax");  // it takes 22 s
      check_captured(layer, kLongest, !test::interpreted());
    }
  }
}

}  // namespace
}  // namespace subquad::nn
