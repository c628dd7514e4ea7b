// What a training spends its time on: an encoder layer with each attention, and whole steps. Both count their work part
// by part, products with what can be done while they write, so that floors can be added up.
#include <memory>
#include <numeric>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/bench/kernel/mechanisms.h"
#include "subquad/nn/classifier.h"
#include "subquad/nn/losses.h"
#include "subquad/nn/optim/adamw.h"
#include "subquad/nn/optim/clip.h"

namespace subquad::bench {

namespace {

constexpr Index kVocabulary = 16, kClasses = 10;  // ListOps

struct Extents {
  double rows = 0, width = 0, hidden = 0, bytes_each = 0;

  double bytes(double numbers) const { return rows * numbers * bytes_each; }
};

Extents extents_of(const Settings& s, DType dtype) {
  return {static_cast<double>(s.size("batch") * s.size("n")), static_cast<double>(s.size("d")),
          static_cast<double>(s.size("feed_forward")), static_cast<double>(dtype_bytes(dtype))};
}

Part product(const std::string& name, const Extents& e, double inputs, double outputs, double more) {
  const double flops = 2 * e.rows * inputs * outputs, bytes = e.bytes(inputs + outputs + more);
  return {name, {flops, bytes}, {2 * flops, 2 * bytes}};
}

// norm, attention, sum and norm, perceptron and sum. GELU is the second product's to do as it reads.
std::vector<Part> layer_parts(const nn::AttentionConfig& attention, const Settings& s, DType dtype) {
  const Extents e = extents_of(s, dtype);
  const double x = e.bytes(e.width), elements = e.rows * e.width;
  std::vector<Part> parts = {{"norm1", {8 * elements, 2 * x}, {14 * elements, 3 * x}}};
  for (Part& part : attention_parts(attention, s.size("batch"), s.size("n"), dtype)) parts.push_back(std::move(part));
  parts.push_back({"norm2", {9 * elements, 4 * x}, {15 * elements, 4 * x}});
  parts.push_back(product("feed_forward.first", e, e.width, e.hidden, 0));
  parts.push_back(product("feed_forward.second", e, e.hidden, e.width, e.width));
  return parts;
}

RandomState first_step(Index samples, const nn::Place& place) {
  Tensor numbers = empty({samples}, kInt64, kCpu);
  std::iota(numbers.data<Index>(), numbers.data<Index>() + samples, Index(0));
  return {.seed = place.seed(), .step = full({1}, 1, kInt64, place.device()), .samples = numbers.to(place.device())};
}

// With its parameters as in a training, where products of several weights are one.
struct Layer {
  Layer(const nn::Place& place, const nn::EncoderLayerConfig& config) : layer(place, config), arena(layer) {}

  nn::EncoderLayer layer;
  nn::ParameterArena arena;
};

Work layer_work(const std::string& kind, const Settings& s, const nn::Place& place) {
  nn::AttentionConfig attention = mechanism_config(kind, s);
  attention.dropout = s.number("dropout");
  const auto held = std::make_shared<Layer>(
      place,
      nn::EncoderLayerConfig{.attention = attention, .hidden = s.size("feed_forward"), .dropout = attention.dropout});
  const Variable x = normal_input(place, "x", {s.size("batch"), s.size("n"), attention.width});
  const RandomState random = first_step(x.dim(0), place);
  std::vector<Part> parts = layer_parts(attention, s, place.dtype());
  Work work = {.inputs = {{"x", x}},
               .forward = [=]() -> std::vector<Variable> { return {held->layer(x, {}, random)}; },
               .forward_count = sum_of(parts, &Part::forward),
               .backward_count = sum_of(parts, &Part::backward),
               .parts = std::move(parts)};
  for (const Variable& parameter : held->layer.parameters()) work.inputs[parameter.name()] = parameter;
  return work;
}

// A classifier with its optimiser, on one batch.
class Training {
 public:
  Training(const nn::SequenceClassifierConfig& config, const nn::Place& place, const Tensor& tokens,
           const Tensor& labels)
      : model_(place, config),
        arena_(model_),
        optimizer_(arena_, {.weight_decay = 0.01}),  // its rate stays 0: each step does the same
        tokens_(tokens),
        labels_(labels),
        random_(first_step(tokens.dim(0), place)) {}

  // Gradients, their norm, the update; the mean loss before it.
  Variable step() {
    arena_.zero_grad();
    const Variable loss = nn::cross_entropy(model_(tokens_, {}, random_), labels_);
    backward(loss);
    optimizer_.step(nn::clip_global_norm(arena_, 1).scale);
    return Variable(loss.value());
  }

  std::vector<Variable> parameters() const { return model_.parameters(); }

  // As of an op with a backward: the gradients of the last step.
  std::map<std::string, Tensor> gradients() const {
    std::map<std::string, Tensor> named = {{"upstream", full({}, 1, model_.dtype(), model_.device())}};
    for (const Variable& parameter : parameters()) named["grad." + parameter.name()] = parameter.grad();
    return named;
  }

 private:
  nn::SequenceClassifier model_;
  nn::ParameterArena arena_;
  nn::AdamW optimizer_;
  Tensor tokens_, labels_;
  RandomState random_;
};

Tensor drawn_below(Index limit, const Shape& shape, const char* name, const nn::Place& place) {
  Tensor numbers = empty(shape, kInt64, kCpu);
  Rng rng(place.seed(), stream_id(name));
  for (std::int64_t& number : numbers.span<std::int64_t>()) number = rng.below(limit);
  return numbers.to(place.device());
}

// Forward and backward of each part one behind the other, then the optimiser, which reads and writes 28 bytes per
// parameter and reads the gradients once more for their norm.
std::vector<Part> step_parts(const nn::SequenceClassifierConfig& config, const Settings& s, double parameters,
                             DType dtype) {
  const Extents e = extents_of(s, dtype);
  const double x = e.bytes(e.width), elements = e.rows * e.width, ids = 8 * e.rows;
  std::vector<Part> both = {{"embedding", {elements, x + ids}, {elements, x + ids}}};
  for (Index i = 0; i < config.layers; ++i)
    for (const Part& part : layer_parts(nn::attention_config(config), s, dtype)) both.push_back(part);
  both.push_back({"norm", {8 * elements, 2 * x}, {14 * elements, 3 * x}});
  both.push_back({"pooling", {elements, x}, {elements, x}});
  std::vector<Part> parts;
  for (const Part& part : both) {
    parts.push_back({part.name, part.forward, {}});
    parts.push_back({part.name + " backward", part.backward, {}});
  }
  parts.push_back({"optimizer", {12 * parameters, 8 * e.bytes_each * parameters}, {}});
  return parts;
}

Work step_work(const std::string& kind, const Settings& s, const nn::Place& place) {
  nn::SequenceClassifierConfig config = {.vocabulary = kVocabulary, .classes = kClasses};
  config.max_length = std::max<Index>(s.size("n"), 1);
  config.width = s.size("d");
  config.layers = s.size("layers");
  config.hidden = s.size("feed_forward");
  config.attention = mechanism_config(kind, s);
  config.dropout = config.attention_dropout = s.number("dropout");
  const Tensor tokens = drawn_below(kVocabulary, {s.size("batch"), s.size("n")}, "tokens", place);
  const Tensor labels = drawn_below(kClasses, {s.size("batch")}, "labels", place);
  const auto training = std::make_shared<Training>(config, place, tokens, labels);
  Work work = {.inputs = {{"tokens", Variable(tokens)}, {"labels", Variable(labels)}},
               .forward = [=]() -> std::vector<Variable> { return {training->step()}; },
               .forward_count = {},
               .backward_count = {},
               .also = [=] { return training->gradients(); }};
  double count = 0;
  for (const Variable& parameter : training->parameters()) {  // a step takes their gradients by itself
    work.inputs[parameter.name()] = Variable(parameter.value());
    count += static_cast<double>(parameter.value().size());
  }
  work.parts = step_parts(config, s, count, place.dtype());
  work.forward_count = sum_of(work.parts, &Part::forward);
  return work;
}

using Make = Work (*)(const std::string& kind, const Settings&, const nn::Place&);

std::vector<Case> cases_of(const std::string& suffix, const std::string& about, std::vector<Setting> more, Make make) {
  std::vector<Case> cases;
  for (const std::string& kind : mechanism_kinds()) {
    std::vector<Setting> settings = mechanism_settings(kind);
    settings.insert(settings.end(), more.begin(), more.end());
    cases.push_back({kind + suffix, about + kind, settings,
                     [=](const Settings& s, const nn::Place& place) { return make(kind, s, place); }, kind == "fsat"});
  }
  return cases;
}

const Setting kHidden = {"feed_forward", "128", "hidden features of the perceptron"};

}  // namespace

std::vector<Case> layer_cases() {
  return cases_of("_layer", "a pre-norm encoder layer with ",
                  {kHidden, {"dropout", "0.1", "wherever the layer has one"}}, layer_work);
}

std::vector<Case> step_cases() {
  std::vector<Case> cases = cases_of(
      "_step", "a step of training the ListOps classifier with ",
      {kHidden, {"layers", "2", "encoder layers"}, {"dropout", "0.1", "wherever the model has one"}}, step_work);
  for (Case& c : cases) c.has_backward = false;  // it is inside
  return cases;
}

}  // namespace subquad::bench
