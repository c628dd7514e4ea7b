#include "subquad/bench/kernel/rows.h"

#include "subquad/core/error.h"

namespace subquad::bench {

namespace {

using Chosen = std::vector<std::pair<std::string, std::string>>;

constexpr Index kLengths[] = {1024, 4096, 16384};

const Target kLargeProduct = {"large matrix product", 0.8, 0.8, 1.0};
const Target kSkinnyProduct = {"skinny product", 0.7, 0.7, 1.3};
const Target kAttention = {"softmax attention", 0.7, 0.75, 1.5};
const Target kNystrom = {"nystrom", 0.6, 0.6, 3};
const Target kChord = {"chord product", 0.35, 0.35, 10};
// Two multiplications for each number that is read: never bound by products, and every peer moves the same bytes.
const Target kButterfly = {"butterfly product", 0.5, 0.5, 1, false};
const Target kParamixer = {"paramixer", 0.55, 0.55, 3, false};
const Target kFft = {"fft", 0.15, 0.15, 2};
const Target kTopK = {"top-k", 0.5, 0, 2, false};
const Target kLagColumn = {"lag-column attention", 0.4, 0.4, 4};
const Target kFsat = {"fsat", 0.55, 0.55, 3, false};
const Target kGathered = {"gathered attention", 0.15, 0.15, 10};
const Target kCombiner = {"combiner", 0.5, 0.5, 3};
const Target kLayerNorm = {"layer norm", 0.7, 0.7, 1.4, false};
const Target kBiasGelu = {"bias and GELU", 0.7, 0.7, 1.5, false};
const Target kLoss = {"loss", 0.7, 0.7, 3, false};
const Target kAdamW = {"AdamW", 0.7, 0, 3, false};
const Target kLayer = {"encoder layer", 0.55, 0.55, 2, false};
const Target kSoftmaxStep = {"training step, softmax", 0.5, 0, 1.4, false};
const Target kStep = {"training step", 0.5, 0, 2, false};

class Table {
 public:
  explicit Table(std::string family) : family_(std::move(family)) {}

  Table& one(const std::string& op, const Chosen& chosen, const Target& target = {}) {
    rows_.push_back({family_, op, chosen, target, 0});
    return *this;
  }

  // A row for each length.
  Table& of_lengths(const std::string& op, const Target& target = {}, Chosen chosen = {}) {
    chosen.emplace_back("n", "");
    for (const Index n : kLengths) {
      chosen.back().second = cat(n);
      one(op, chosen, target);
      rows_.back().length = n;
    }
    return *this;
  }

  const std::vector<Row>& rows() const { return rows_; }

 private:
  std::string family_;
  std::vector<Row> rows_;
};

std::vector<Row> primitive_rows() {
  Table table("primitives");
  for (const char* size : {"512", "1024", "2048"})
    table.one("matmul", {{"m", size}, {"n", size}, {"k", size}}, kLargeProduct);
  table.one("matmul", {{"m", "1024"}, {"n", "64"}, {"k", "32"}, {"batch", "8"}}, kSkinnyProduct)
      .one("matmul", {{"m", "64"}, {"n", "64"}, {"k", "64"}, {"batch", "64"}}, kSkinnyProduct)
      .of_lengths("linear", kSkinnyProduct)
      .of_lengths("attention", kAttention)
      .of_lengths("segment_mean")
      .one("landmark_softmax", {})
      .of_lengths("conv1d")
      .one("pinv", {})
      .of_lengths("chord_matmul", kChord)
      .of_lengths("chord_chain", kChord)
      .of_lengths("butterfly_matmul", kButterfly)
      .of_lengths("factor_mlp")
      .of_lengths("fft", kFft)
      .of_lengths("rfft", kFft)
      .of_lengths("irfft", kFft)
      .of_lengths("circular_convolve", kFft)
      .of_lengths("circular_correlate", kFft)
      .of_lengths("hidden_cross")
      .of_lengths("score_heads")
      .of_lengths("top_k", kTopK)
      .of_lengths("lag_column_attention", kLagColumn)
      .of_lengths("gathered_attention", kGathered)
      .of_lengths("span_pool")
      .of_lengths("running_max")
      .of_lengths("span_attention")
      .of_lengths("block_attention", kCombiner, {{"segment", "64"}})
      .of_lengths("summary_attention", kCombiner, {{"segment", "64"}})
      .of_lengths("level_attention")
      .of_lengths("embedding")
      .of_lengths("compact")
      .of_lengths("gumbel_noise")
      .of_lengths("row_softmax")
      .of_lengths("layer_norm", kLayerNorm)
      .of_lengths("bias_gelu", kBiasGelu)
      .of_lengths("cross_entropy", kLoss)
      .of_lengths("cross_entropy", kLoss, {{"classes", "256"}});
  for (const char* size : {"65536", "262144", "1048576"}) table.one("adamw", {{"size", size}}, kAdamW);
  return table.rows();
}

std::vector<Row> attention_rows() {
  Table table("attentions");
  table.of_lengths("softmax", kAttention).of_lengths("nystrom", kNystrom).of_lengths("fsat", kFsat);
  for (const char* protocol : {"chord", "cdil", "butterfly"})
    table.of_lengths("paramixer", kParamixer, {{"protocol", protocol}});
  for (const char* pattern : {"fixed", "vertical", "horizontal", "mixture", "average", "rowmajor"})
    table.of_lengths("combiner", kCombiner, {{"pattern", pattern}, {"segment", "64"}});
  table.of_lengths("combiner", kCombiner, {{"pattern", "logsparse"}})
      .of_lengths("combiner", kCombiner, {{"segment", "64"}, {"causal", "true"}})
      .of_lengths("local");
  return table.rows();
}

// One row of each attention: with NAME_layer and NAME_step.
std::vector<Row> rows_around(const std::string& family, const std::string& suffix, const Target& softmax,
                             const Target& others) {
  Table table(family);
  table.of_lengths("softmax" + suffix, softmax);
  for (const char* attention : {"nystrom", "fsat", "paramixer"}) table.of_lengths(attention + suffix, others);
  table.of_lengths("combiner" + suffix, others, {{"segment", "64"}}).of_lengths("local" + suffix);
  return table.rows();
}

// A step of ListOps as it is trained, besides those of every length.
std::vector<Row> training_rows() {
  std::vector<Row> rows = rows_around("training", "_step", kSoftmaxStep, kStep);
  Table listops("training");
  const Index length = 2048;
  const Chosen extents = {{"batch", "32"}, {"n", cat(length)}};
  for (const char* attention : {"softmax", "nystrom", "fsat", "paramixer", "combiner", "local"}) {
    Chosen chosen = extents;
    if (attention == std::string("combiner")) chosen.emplace_back("segment", "64");
    listops.one(cat(attention, "_step"), chosen, attention == std::string("softmax") ? kSoftmaxStep : kStep);
  }
  for (Row row : listops.rows()) {
    row.length = length;
    rows.push_back(row);
  }
  return rows;
}

}  // namespace

std::string Row::title() const {
  std::string text = op;
  for (const auto& [name, value] : settings) text += cat(' ', name, '=', value);
  return text;
}

void Row::apply(Settings& to) const {
  for (const auto& [name, value] : settings) to.set(name, value);
}

std::vector<Row> rows() {
  std::vector<Row> all = primitive_rows();
  for (const std::vector<Row>& more : {attention_rows(), rows_around("layers", "_layer", {}, kLayer), training_rows()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<std::string> families() {
  return {"primitives", "attentions", "layers", "training"};
}

}  // namespace subquad::bench
