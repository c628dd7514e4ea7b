// Nystromformer: an encoder layer, and the whole models of its LRA code.
#include <map>

#include "subquad/autograd/backward.h"
#include "subquad/nn/losses.h"
#include "subquad/nn/two_tower.h"
#include "subquad/tests/golden/kinds.h"
#include "subquad/tests/golden/nystromformer.h"

namespace subquad::test {
namespace {

// A published parameter's place in our modules, and how its elements are ordered there.
struct Home {
  std::string name;
  bool transposed = false;  // the file holds [outputs, inputs]
};

// text with `from`, which it starts with, replaced; empty when it does not start so.
std::string renamed(const std::string& text, const std::string& from, const std::string& to) {
  return text.starts_with(from) ? to + text.substr(from.size()) : "";
}

Home norm_home(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return {name.substr(0, dot) + (name.substr(dot) == ".weight" ? ".gamma" : ".beta")};
}

Home linear_home(const std::string& name) {
  return {name, name.ends_with(".weight")};
}

// Of a parameter of an encoder layer.
Home layer_home(const std::string& name) {
  static const std::map<std::string, std::string> kLinears = {
      {"mha.W_q.", "attention.query."},       {"mha.W_k.", "attention.key."},
      {"mha.W_v.", "attention.value."},       {"mha.ff.", "attention.out."},
      {"mlpblock.0.", "feed_forward.first."}, {"mlpblock.3.", "feed_forward.second."}};
  if (name == "mha.attn.conv.weight") return {"attention.conv"};
  if (name.starts_with("norm")) return norm_home(name);
  for (const auto& [theirs, ours] : kLinears)
    if (name.starts_with(theirs)) return linear_home(renamed(name, theirs, ours));
  throw Error(cat("param.", name, " is no parameter of an encoder layer"));
}

Home model_home(const std::string& name) {
  static const std::string kLayers = "model.transformer_";
  if (name.starts_with(kLayers)) {
    const std::size_t dot = name.find('.', kLayers.size());
    const std::string number = name.substr(kLayers.size(), dot - kLayers.size());
    const Home home = layer_home(name.substr(dot + 1));
    return {"encoder.layers." + number + "." + home.name, home.transposed};
  }
  if (name == "model.embeddings.word_embeddings.weight") return {"encoder.tokens.weight"};
  if (name == "model.embeddings.position_embeddings.weight") return {"encoder.positions.weight"};
  if (name.starts_with("model.norm.")) return norm_home(renamed(name, "model.norm.", "encoder.norm."));
  for (const auto& [theirs, ours] : {std::pair("seq_classifer.mlpblock.0.", "head.layers.0."),
                                     std::pair("seq_classifer.mlpblock.2.", "head.layers.1.")})
    if (name.starts_with(theirs)) return linear_home(renamed(name, theirs, ours));
  throw Error(cat("param.", name, " is no parameter of the model"));
}

using Homes = Home (*)(const std::string& name);

// f(the published name, where it is at home) for each parameter of the file.
template <class F>
void for_parameters(const SafetensorsFile& file, Homes home, const F& f) {
  for (const auto& [name, value] : file.tensors)
    if (name.starts_with("param.")) f(name.substr(6), home(name.substr(6)));
}

void load(const SafetensorsFile& file, Homes home, DType dtype, nn::Module& module) {
  nn::StateDict state = module.state_dict();  // the shapes
  for_parameters(file, home, [&](const std::string& name, const Home& ours) {
    const Tensor theirs = here(file.tensors.at("param." + name).to(dtype));
    const auto known = state.find(ours.name);
    if (known == state.end()) throw Error(cat("param.", name, ": the module has no ", ours.name));
    known->second = ours.transposed ? theirs.transpose(0, 1).contiguous() : theirs.reshape(known->second.shape());
  });
  module.load_state_dict(state);
}

void compare_gradients(const SafetensorsFile& file, Homes home, const nn::Module& module, GoldenErrors& errors) {
  std::map<std::string, Tensor> gradients;
  for (const Variable& p : module.parameters()) gradients[p.name()] = p.grad();
  for_parameters(file, home, [&](const std::string& name, const Home& ours) {
    const Tensor& want = file.tensors.at("grad.param." + name);
    const Tensor got = gradients.at(ours.name);
    errors.gradient(ours.transposed ? got.transpose(0, 1) : got.reshape(want.shape()), want);
  });
}

void expect(const SafetensorsFile& file, const std::string& key, const std::string& expected) {
  if (golden_option(file, key) != expected)
    throw Error(cat(key, " is '", golden_option(file, key), "', expected '", expected, "'"));
}

nn::AttentionConfig attention_options(const SafetensorsFile& file) {
  expect(file, "norm", "pre-norm, eps 1e-5");
  expect(file, "activation", "gelu (erf)");
  expect(file, "dropout", "0");
  return {.kind = "nystrom",
          .width = golden_number(file, "dim"),
          .heads = golden_number(file, "heads"),
          .head_width = golden_number(file, "head_dim"),
          .nystrom = nystrom_options(file)};
}

nn::SequenceClassifierConfig model_options(const SafetensorsFile& file) {
  expect(file, "pooling", "mean over all positions after masking");
  expect(file, "loss", "cross entropy, mean over the batch");
  return {.vocabulary = golden_number(file, "vocab_size"),
          .classes = golden_number(file, "num_classes"),
          .max_length = golden_number(file, "seq_len"),
          .width = golden_number(file, "dim"),
          .layers = golden_number(file, "layers"),
          .hidden = golden_number(file, "hidden"),
          .attention = attention_options(file),
          .over_padded_length = true,
          .head_hidden = golden_number(file, "hidden")};
}

Mask tokens_mask(const Tensor& tokens) {  // 0 is padding
  return Mask::from_bool(tokens.to(kBool));
}

// Loads the model, runs it by `logits`, and compares results, losses and gradients.
template <class Logits>
GoldenErrors check_model(const SafetensorsFile& file, DType dtype, nn::Module& model, const Logits& logits) {
  load(file, model_home, dtype, model);
  model.eval();
  GoldenErrors errors;
  const Tensor labels = here(file.tensors.at("in.labels"));
  const Variable result = logits(), loss = nn::cross_entropy(result, labels);
  errors.result(result.value(), file.tensors.at("out.logits"));
  errors.result(loss.value().reshape({1}), file.tensors.at("out.loss"));
  errors.result(cross_entropy_each(result, labels).value(), file.tensors.at("out.loss_per_example"));
  backward(loss);
  compare_gradients(file, model_home, model, errors);
  return errors;
}

}  // namespace

GoldenErrors golden_nystromformer_layer(const SafetensorsFile& file, DType dtype) {
  nn::EncoderLayer layer(nn::Place(1, dtype, device()),
                         {.attention = attention_options(file), .hidden = golden_number(file, "hidden")});
  load(file, layer_home, dtype, layer);
  layer.eval();
  const Variable x(here(file.tensors.at("in.x").to(dtype)), true);
  const Mask mask = Mask::from_bool(file.tensors.at("in.mask").to(kBool)).to(device());
  GoldenErrors errors;
  const Variable out = layer(x, mask, {});
  errors.result(out.value(), file.tensors.at("out"));
  backward(out, here(file.tensors.at("up.out").to(dtype)));
  errors.gradient(x.grad(), file.tensors.at("grad.x"));
  compare_gradients(file, layer_home, layer, errors);
  return errors;
}

GoldenErrors golden_nystromformer_classifier(const SafetensorsFile& file, DType dtype) {
  nn::SequenceClassifier model(nn::Place(1, dtype, device()), model_options(file));
  const Tensor tokens = file.tensors.at("in.tokens");
  const Mask mask = tokens_mask(tokens).to(device());
  return check_model(file, dtype, model, [&] { return model(here(tokens), mask, {}); });
}

GoldenErrors golden_nystromformer_two_tower(const SafetensorsFile& file, DType dtype) {
  nn::TwoTowerClassifier model(nn::Place(1, dtype, device()), model_options(file));
  const Tensor a = here(file.tensors.at("in.tokens")), b = here(file.tensors.at("in.tokens_1"));
  const Mask mask_a = tokens_mask(a.to(kCpu)).to(device()), mask_b = tokens_mask(b.to(kCpu)).to(device());
  return check_model(file, dtype, model, [&] { return model({a, mask_a}, {b, mask_b}, {}); });
}

}  // namespace subquad::test
