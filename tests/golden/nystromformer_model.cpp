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
enum class Order {
  same,
  transposed,  // the file holds [outputs, inputs]
  taps,        // the file holds [heads, 1, taps, 1]
};
struct Home {
  std::string name;
  Order order = Order::same;
};

// The file's order of elements as ours, and ours as the file's.
Tensor from_file(const Tensor& theirs, Order order) {
  if (order == Order::transposed) return theirs.transpose(0, 1).contiguous();
  return order == Order::taps ? theirs.reshape({theirs.dim(0), theirs.dim(2)}) : theirs;
}
Tensor to_file(const Tensor& ours, Order order) {
  if (order == Order::transposed) return ours.transpose(0, 1);
  return order == Order::taps ? ours.reshape({ours.dim(0), 1, ours.dim(1), 1}) : ours;
}

// text with `from`, which it starts with, replaced; empty when it does not start so.
std::string renamed(const std::string& text, const std::string& from, const std::string& to) {
  return text.starts_with(from) ? to + text.substr(from.size()) : "";
}

Home norm_home(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return {name.substr(0, dot) + (name.substr(dot) == ".weight" ? ".gamma" : ".beta")};
}

Home linear_home(const std::string& name) {
  return {name, name.ends_with(".weight") ? Order::transposed : Order::same};
}

// Of a parameter of an encoder layer.
Home layer_home(const std::string& name) {
  static const std::map<std::string, std::string> kLinears = {
      {"mha.W_q.", "attention.query."},       {"mha.W_k.", "attention.key."},
      {"mha.W_v.", "attention.value."},       {"mha.ff.", "attention.out."},
      {"mlpblock.0.", "feed_forward.first."}, {"mlpblock.3.", "feed_forward.second."}};
  if (name == "mha.attn.conv.weight") return {"attention.conv", Order::taps};
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
    return {"encoder.layers." + number + "." + home.name, home.order};
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
void for_parameters(const GoldenFile& file, Homes home, const F& f) {
  for (const auto& [name, value] : file.tensors())
    if (name.starts_with("param.")) f(name.substr(6), home(name.substr(6)));
}

void load(const GoldenFile& file, Homes home, DType dtype, nn::Module& module) {
  nn::StateDict state;
  for_parameters(file, home, [&](const std::string& name, const Home& ours) {
    const Tensor& theirs = file.tensor("param." + name);
    const int rank = ours.order == Order::taps ? 4 : ours.order == Order::transposed ? 2 : theirs.rank();
    if (theirs.rank() != rank)
      throw ShapeError(cat("param.", name, " is ", theirs.shape(), ", expected ", rank, " dimensions"));
    state[ours.name] = here(from_file(theirs.to(dtype), ours.order));
  });
  module.load_state_dict(state);
}

void compare_gradients(const GoldenFile& file, Homes home, const nn::Module& module, GoldenErrors& errors) {
  std::map<std::string, Tensor> gradients;
  for (const Variable& p : module.parameters()) gradients[p.name()] = p.grad();
  for_parameters(file, home, [&](const std::string& name, const Home& ours) {
    errors.gradient(file, "grad.param." + name, to_file(gradients.at(ours.name), ours.order));
  });
}

// Of an encoder layer, with the sizes of its parameters: names `prefix` + "norm1.weight", ....
nn::AttentionConfig attention_options(const GoldenFile& file, const std::string& prefix) {
  file.expect("norm", "pre-norm, eps 1e-5");
  file.expect("activation", "gelu (erf)");
  file.expect("dropout", "0");
  file.tensor(prefix + "mlpblock.0.weight", {"hidden", "dim"});
  if (file.number("conv_kernel_size", 0) > 0)
    file.tensor(prefix + "mha.attn.conv.weight", {"heads", "", "conv_kernel_size", ""});
  const Index rows = file.tensor(prefix + "mha.W_q.weight", {"", "dim"}).dim(0);
  const Index heads = file.number("heads", 1, rows), head_dim = file.number("head_dim", 1, rows);
  if (heads * head_dim != rows)
    throw Error(cat("heads is ", heads, " and head_dim ", head_dim, ", but mha.W_q.weight has ", rows, " rows"));
  return {.kind = "nystrom",
          .width = file.number("dim", 1),
          .heads = heads,
          .head_width = head_dim,
          .nystrom = nystrom_options(file)};
}

nn::SequenceClassifierConfig model_options(const GoldenFile& file) {
  file.expect("pooling", "mean over all positions after masking");
  file.expect("loss", "cross entropy, mean over the batch");
  file.tensor("in.tokens", {"batch", "seq_len"});
  file.tensor("param.model.embeddings.word_embeddings.weight", {"vocab_size", "dim"});
  file.tensor("param.model.embeddings.position_embeddings.weight", {"seq_len", "dim"});
  file.tensor("param.seq_classifer.mlpblock.2.weight", {"num_classes", "hidden"});
  return {.vocabulary = file.number("vocab_size", 1),
          .classes = file.number("num_classes", 1),
          .max_length = file.number("seq_len", 1),
          .width = file.number("dim", 1),
          .layers = file.count("layers", "param.model.transformer_", ".norm1.weight"),
          .hidden = file.number("hidden", 1),
          .head_hidden = {file.number("hidden", 1)},
          .attention = attention_options(file, "param.model.transformer_0."),
          .over_padded_length = true};
}

Mask tokens_mask(const Tensor& tokens) {  // 0 is padding
  return Mask::from_bool(tokens.to(kBool));
}

// Loads the model, runs it by `logits`, and compares results, losses and gradients.
template <class Logits>
GoldenErrors check_model(const GoldenFile& file, DType dtype, nn::Module& model, const Logits& logits) {
  load(file, model_home, dtype, model);
  model.eval();
  GoldenErrors errors;
  const Tensor labels = here(file.tensor("in.labels"));
  const Variable result = logits(), loss = nn::cross_entropy(result, labels);
  errors.result(file, "out.logits", result.value());
  errors.result(file, "out.loss", loss.value().reshape({1}));
  errors.result(file, "out.loss_per_example", cross_entropy_each(result, labels).value());
  backward(loss);
  compare_gradients(file, model_home, model, errors);
  return errors;
}

}  // namespace

GoldenErrors golden_nystromformer_layer(const GoldenFile& file, DType dtype) {
  file.tensor("in.x", {"batch", "seq_len", "dim"});
  nn::EncoderLayer layer(nn::Place(1, dtype, device()),
                         {.attention = attention_options(file, "param."), .hidden = file.number("hidden", 1)});
  load(file, layer_home, dtype, layer);
  layer.eval();
  const Variable x(file.input("in.x", dtype), true);
  const Mask mask = file.mask().to(device());
  GoldenErrors errors;
  const Variable out = layer(x, mask, {});
  errors.result(file, "out", out.value());
  backward(out, file.input("up.out", dtype));
  errors.gradient(file, "grad.x", x.grad());
  compare_gradients(file, layer_home, layer, errors);
  return errors;
}

GoldenErrors golden_nystromformer_classifier(const GoldenFile& file, DType dtype) {
  nn::SequenceClassifier model(nn::Place(1, dtype, device()), model_options(file));
  const Tensor tokens = file.tensor("in.tokens");
  const Mask mask = tokens_mask(tokens).to(device());
  return check_model(file, dtype, model, [&] { return model(here(tokens), mask, {}); });
}

GoldenErrors golden_nystromformer_two_tower(const GoldenFile& file, DType dtype) {
  nn::TwoTowerClassifier model(nn::Place(1, dtype, device()), model_options(file));
  const Tensor a = here(file.tensor("in.tokens")), b = here(file.tensor("in.tokens_1", {"batch", "seq_len"}));
  const Mask mask_a = tokens_mask(a.to(kCpu)).to(device()), mask_b = tokens_mask(b.to(kCpu)).to(device());
  return check_model(file, dtype, model, [&] { return model({a, mask_a}, {b, mask_b}, {}); });
}

}  // namespace subquad::test
