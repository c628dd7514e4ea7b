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
  MixerCase(const GoldenFile& file, DType dtype) : file_(file), dtype_(dtype) {
    file.expect("activation", "gelu (erf)");
    layers_ = file.count("n_layers", "param.attention.", ".g.network.0.weight");
  }

 protected:
  const Tensor& want(const std::string& name) const { return file_.tensor(name); }
  Tensor input(const std::string& name) const { return file_.input(name, dtype_); }
  Tensor transposed(const std::string& name) const {  // their linear weights are [out, in]
    return here(file_.tensor(name, {"", ""}).to(dtype_).transpose(0, 1).contiguous());
  }

  template <class T>
  T one_of(const char* key, const std::string& first, T a, const std::string& second, T b) const {
    const std::string& text = file_.option(key);
    if (text == first) return a;
    if (text == second) return b;
    throw Error(cat(key, " is '", text, "', expected ", first, " or ", second));
  }

  nn::MixerConfig config() const {
    nn::MixerConfig c{
        .outputs = file_.tensor("param.final.weight", {"n_class", ""}).dim(0),
        .max_length = file_.number("seq_len", 1),
        .width = file_.number("dim", 1),
        .blocks = layers_,
        .positions = one_of("pos_embedding", "APC", nn::PositionKind::learned, "NO", nn::PositionKind::none),
        .pooling = one_of("pooling", "FLATTEN", nn::Pooling::flatten, "CLS", nn::Pooling::cls),
        .masked = false};
    c.attention.paramixer = paramixer_options(file_, "param.attention.0.");
    return c;
  }

  // Parameters of the mixer, or their gradients with prefix "grad.param.", under our names.
  nn::StateDict mixer_state(const std::string& prefix, DType dtype) const {
    nn::StateDict state;
    for (Index layer = 0; layer < layers_; ++layer)
      for (const auto& [name, value] :
           paramixer_state(file_, cat(prefix, "attention.", layer, "."), file_.number("n_factors", 1), dtype))
        state[cat("mixer.blocks.", layer, ".", name)] = value;
    state["mixer.head.weight"] = transposed(prefix + "final.weight").to(dtype);
    state["mixer.head.bias"] = here(want(prefix + "final.bias").to(dtype));
    if (file_.option("pos_embedding") == "APC")
      state["mixer.positions.weight"] = here(want(prefix + "apc_embedding.weight").to(dtype));
    return state;
  }

  // X, and the values behind every block.
  void intermediates(const nn::Mixer& mixer, const Variable& embedded) {
    const Variable x = mixer.data(embedded, {});
    errors_.result(file_, "mid.data", x.value());
    Variable values = x;
    for (Index layer = 0; layer < layers_; ++layer) {
      values = mixer.block(static_cast<std::size_t>(layer)).forward({values, x, {}, {}});
      errors_.result(file_, cat("mid.layer", layer + 1), values.value());
    }
  }

  void finish(const nn::Module& model, const Variable& loss, const nn::StateDict& wanted) {
    errors_.result(file_, "out.loss", loss.value().reshape({1}));
    backward(loss);
    for (const Variable& p : model.parameters()) errors_.gradient("grad of " + p.name(), p.grad(), wanted.at(p.name()));
  }

  const GoldenFile& file_;
  DType dtype_;
  Index layers_;
  GoldenErrors errors_;
};

class ClassifierCase : public MixerCase {
 public:
  using MixerCase::MixerCase;

  GoldenErrors run() {
    nn::TokenMixerConfig c{.vocabulary = vocabulary(), .mixer = config(), .own_cls = true};
    if (file_.option("padding_idx", "none") != "none") {
      c.padding_row = nn::PaddingRow::frozen;
      c.padding_token = file_.number("padding_idx", 0, c.vocabulary - 1);
    }
    nn::TokenMixer model(nn::Place(1, dtype_, device()), c);
    model.load_state_dict(state("param.", dtype_));
    const Tensor tokens = here(file_.tensor("in.tokens", {"batch", "seq_len"}));
    intermediates(model.mixer(), model.embed(tokens));
    const Variable logits = model(tokens, {}, {});
    errors_.result(file_, "out.logits", logits.value());
    finish(model, nn::cross_entropy(logits, here(want("in.labels"))), state("grad.param.", kFloat64));
    return errors_;
  }

 private:
  // The synthetic-task code of kind order counts its symbols otherwise than its table's rows.
  Index vocabulary() const {
    const bool of_task = file_.option("kind") == "order";
    const Index rows = file_.tensor("param.embedding.weight", {of_task ? "" : "vocab_size", "dim"}).dim(0);
    if (of_task && file_.says("vocab_size")) file_.number("vocab_size", 0, rows);
    return rows;
  }

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
    file_.tensor("in.sequence", {"batch", "seq_len", ""});
    if (file_.says("vocab_size")) file_.number("vocab_size", 0);  // of a table that this task leaves unused
    nn::FeatureMixer model(nn::Place(1, dtype_, device()), 2, config());
    model.load_state_dict(state("param.", dtype_));
    const Variable sequence(input("in.sequence"), true);
    intermediates(model.mixer(), model.embedding()(sequence));
    const Variable predictions = model(sequence, {}, {});
    errors_.result(file_, "out.predictions", predictions.value());
    const Variable targets(input("in.targets").reshape(predictions.shape()));
    finish(model, nn::mean_squared_error(predictions, targets), state("grad.param.", kFloat64));
    errors_.gradient(file_, "grad.sequence", sequence.grad());
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

GoldenErrors golden_paramixer_classifier(const GoldenFile& file, DType dtype) {
  return ClassifierCase(file, dtype).run();
}

GoldenErrors golden_paramixer_adding(const GoldenFile& file, DType dtype) {
  return AddingCase(file, dtype).run();
}

}  // namespace subquad::test
