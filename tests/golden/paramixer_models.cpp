// The Paramixer paper's whole models: token classifiers (kinds classifier and order) and the Adding model.
#include <algorithm>
#include <string>

#include "subquad/nn/losses.h"
#include "subquad/nn/mixer.h"
#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

class MixerCase {
 public:
  MixerCase(const SafetensorsFile& file, DType dtype) : file_(file), dtype_(dtype) {
    expect("activation", "gelu (erf)");
    if (file.metadata.contains("dropout")) expect("dropout", "0");
  }

 protected:
  const Tensor& want(const std::string& name) const { return file_.tensors.at(name); }
  Tensor input(const std::string& name) const { return here(want(name).to(dtype_)); }
  Tensor transposed(const std::string& name) const {  // their linear weights are [out, in]
    return here(want(name).to(dtype_).transpose(0, 1).contiguous());
  }
  const std::string& option(const char* key) const { return file_.metadata.at(key); }
  Index number(const char* key) const { return std::stoll(option(key)); }
  void expect(const char* key, const std::string& value) const {
    if (option(key) != value) throw Error(cat(key, " is ", option(key), ", expected ", value));
  }

  template <class T>
  T one_of(const char* key, const std::string& first, T a, const std::string& second, T b) const {
    if (option(key) == first) return a;
    if (option(key) == second) return b;
    throw Error(cat(key, " is ", option(key), ", expected ", first, " or ", second));
  }

  nn::MixerConfig config() const {
    nn::MixerConfig c{
        .outputs = want("param.final.weight").dim(0),
        .max_length = number("seq_len"),
        .width = number("dim"),
        .blocks = number("n_layers"),
        .positions = one_of("pos_embedding", "APC", nn::PositionKind::learned, "NO", nn::PositionKind::none),
        .pooling = one_of("pooling", "FLATTEN", nn::Pooling::flatten, "CLS", nn::Pooling::cls),
        .masked = false};
    c.attention.paramixer = {.protocol = nn::parse_link_protocol(option("protocol")),
                             .factors = number("n_factors"),
                             .rule = nn::parse_factor_rule(option("factor_rule")),
                             .links = number("n_links"),
                             .hidden = number("hidden"),
                             .residual = nn::parse_mix_residual(option("residual"))};
    return c;
  }

  // Parameters of the mixer, or their gradients with prefix "grad.param.", under our names.
  nn::StateDict mixer_state(const std::string& prefix, DType dtype) const {
    nn::StateDict state;
    for (Index layer = 0; layer < number("n_layers"); ++layer)
      for (const auto& [name, value] :
           paramixer_state(file_, cat(prefix, "attention.", layer, "."), number("n_factors"), dtype))
        state[cat("mixer.blocks.", layer, ".", name)] = value;
    state["mixer.head.weight"] = transposed(prefix + "final.weight").to(dtype);
    state["mixer.head.bias"] = here(want(prefix + "final.bias").to(dtype));
    if (option("pos_embedding") == "APC")
      state["mixer.positions.weight"] = here(want(prefix + "apc_embedding.weight").to(dtype));
    return state;
  }

  // X, and the values behind every block.
  void intermediates(const nn::Mixer& mixer, const Variable& embedded) {
    const Variable x = mixer.data(embedded, {});
    errors_.result(x.value(), want("mid.data"));
    Variable values = x;
    for (Index layer = 0; layer < number("n_layers"); ++layer) {
      values = mixer.block(static_cast<std::size_t>(layer)).forward({values, x, {}, {}});
      errors_.result(values.value(), want(cat("mid.layer", layer + 1)));
    }
  }

  void finish(const nn::Module& model, const Variable& loss, const nn::StateDict& wanted) {
    errors_.result(loss.value().reshape({1}), want("out.loss"));
    backward(loss);
    for (const Variable& p : model.parameters()) errors_.gradient(p.grad(), wanted.at(p.name()));
  }

  const SafetensorsFile& file_;
  DType dtype_;
  GoldenErrors errors_;
};

class ClassifierCase : public MixerCase {
 public:
  using MixerCase::MixerCase;

  GoldenErrors run() {
    nn::TokenMixerConfig c{.vocabulary = want("param.embedding.weight").dim(0), .mixer = config(), .own_cls = true};
    const auto padding = file_.metadata.find("padding_idx");
    if (padding != file_.metadata.end() && padding->second != "none") {
      c.padding_row = nn::PaddingRow::frozen;
      c.padding_token = std::stoll(padding->second);
    }
    nn::TokenMixer model(nn::Place(1, dtype_, device()), c);
    model.load_state_dict(state("param.", dtype_));
    const Tensor tokens = here(want("in.tokens"));
    intermediates(model.mixer(), model.embed(tokens));
    const Variable logits = model(tokens, {}, {});
    errors_.result(logits.value(), want("out.logits"));
    finish(model, nn::cross_entropy(logits, here(want("in.labels"))), state("grad.param.", kFloat64));
    return errors_;
  }

 private:
  nn::StateDict state(const std::string& prefix, DType dtype) const {
    nn::StateDict all = mixer_state(prefix, dtype);
    all["tokens.weight"] = here(want(prefix + "embedding.weight").to(dtype));
    return all;
  }
};

class AddingCase : public MixerCase {
 public:
  using MixerCase::MixerCase;

  GoldenErrors run() {
    nn::FeatureMixer model(nn::Place(1, dtype_, device()), 2, config());
    model.load_state_dict(state("param.", dtype_));
    const Variable sequence(input("in.sequence"), true);
    intermediates(model.mixer(), model.embedding()(sequence));
    const Variable predictions = model(sequence, {}, {});
    errors_.result(predictions.value(), want("out.predictions"));
    const Variable targets(input("in.targets").reshape(predictions.shape()));
    finish(model, nn::mean_squared_error(predictions, targets), state("grad.param.", kFloat64));
    errors_.gradient(sequence.grad(), want("grad.sequence"));
    return errors_;
  }

 private:
  nn::StateDict state(const std::string& prefix, DType dtype) const {
    nn::StateDict all = mixer_state(prefix, dtype);
    all["embedding.weight"] = transposed(prefix + "init_linear.weight").to(dtype);
    all["embedding.bias"] = here(want(prefix + "init_linear.bias").to(dtype));
    return all;
  }
};

}  // namespace

GoldenErrors golden_paramixer_classifier(const SafetensorsFile& file, DType dtype) {
  return ClassifierCase(file, dtype).run();
}

GoldenErrors golden_paramixer_adding(const SafetensorsFile& file, DType dtype) {
  return AddingCase(file, dtype).run();
}

}  // namespace subquad::test
