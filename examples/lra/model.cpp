#include "subquad/examples/lra/model.h"

#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/options.h"
#include "subquad/nn/choice.h"

namespace subquad::lra {

namespace {

constexpr nn::Choices<ModelKind, 2> kModels = {{{"encoder", ModelKind::encoder}, {"mixer", ModelKind::mixer}}};

const char* const kEncoder = "Model encoder";
const char* const kMixer = "Model mixer";

std::vector<UnreadOption> unread_by_kind(const CLI::App& app, ModelKind kind) {
  if (kind == ModelKind::mixer) return unread_group(app, kEncoder, "--model encoder; this is mixer");
  return unread_group(app, kMixer, "--model mixer; this is encoder");
}

nn::AttentionConfig attention_of(const ModelOptions& options) {
  return options.kind == ModelKind::encoder ? nn::attention_config(options.encoder)
                                            : nn::attention_config(mixer_config(options).mixer);
}

// The first half of the rows holds the first sequences of all pairs.
class PairClassifier : public nn::Classifier {
 public:
  PairClassifier(const nn::Place& place, const nn::SequenceClassifierConfig& config, nn::PairFeatures features)
      : Classifier(place), towers_(child("towers"), config, features) {}

  Variable operator()(const Tensor& tokens, const Mask& mask, const RandomState& rng) const override {
    const ModuleScope scope = enter();
    const Index pairs = tokens.dim(0) / 2;
    const auto half = [&](const Tensor& x, Index i) { return x.slice(0, i * pairs, (i + 1) * pairs); };
    const auto mask_half = [&](Index i) { return Mask{half(mask.real, i), half(mask.lengths, i), mask.prefix}; };
    const Tensor first = half(tokens, 0), second = half(tokens, 1);
    const Mask first_mask = mask_half(0), second_mask = mask_half(1);
    return towers_({first, first_mask}, {second, second_mask}, rng);
  }

 private:
  nn::TwoTowerClassifier towers_;
};

}  // namespace

ModelKind parse_model(std::string_view name) {
  return nn::choose("model", kModels, name);
}

std::string_view model_name(ModelKind kind) {
  return nn::name_of(kModels, kind);
}

nn::TokenMixerConfig mixer_config(const ModelOptions& options) {
  const nn::SequenceClassifierConfig& e = options.encoder;
  return {.mixer = {.max_length = e.max_length,
                    .width = e.width,
                    .blocks = e.layers,
                    .attention = e.attention,
                    .positions = e.positions,
                    .dropout = e.dropout,
                    .block_dropout = e.attention_dropout,
                    .pooling = e.pooling,
                    .masked = !options.mix_padding},
          .embedding_bound = options.embedding_bound,
          .padding_row = options.padding_row};
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  nn::SequenceClassifierConfig& e = options.encoder;
  add_choice(app, "--model", options.kind, parse_model, model_name,
             "encoder, or the Paramixer paper's mixer; paramixer: mixer");
  add_whole(app, "--max-length", e.max_length, 1, kMostPositions,
            "Longest sequence, size of the position table; texts: as --cut, if that is given")
      ->default_str("the task's");
  add_whole(app, "--layers", e.layers, 0, 1000, "Encoder layers, or blocks of a mixer");
  add_whole(app, "--width", e.width, 1, kMostFeatures, "Features per position");
  add_number(app, "--dropout", e.dropout, between(0, 0.99), "After the embedding and in the feed-forward");
  add_number(app, "--attention-dropout", e.attention_dropout, between(0, 0.99),
             "On the attention's output; --fsat-dropout, --combiner-dropout: on its probabilities");
  add_choice(app, "--positions", e.positions, nn::parse_positions, nn::position_name, "none, learned or sinusoid");
  add_choice(app, "--pooling", e.pooling, nn::parse_pooling, nn::pooling_name, "mean, cls or flatten");

  const OptionGroup encoder(app, kEncoder);
  add_whole(app, "--feed-forward", e.hidden, 1, kMostFeatures, "Hidden features of the feed-forward");
  add_wholes(app, "--head-hidden", e.head_hidden, 1, kMostFeatures, "Features of the classifier's hidden layers");
  add_choice(app, "--pair-head", options.pair_features, nn::parse_pair_features, nn::pair_features_name,
             "What the classifier sees of a pair: both vectors (concatenated), or also their product and difference "
             "(interaction)");
  add_choice(app, "--norm", e.norm, nn::parse_norm_order, nn::norm_order_name, "Layer norm: pre or post");
  add_choice(app, "--activation", e.activation, nn::parse_activation, nn::activation_name, "none, relu or gelu");
  app.add_flag("--over-padded-length", e.over_padded_length, "Mean pooling divides by max-length, as published code");

  const OptionGroup mixer(app, kMixer);
  app.add_flag("--mix-padding", options.mix_padding, "Padding is mixed as any token is, as published; for flatten");
  add_choice(app, "--padding-row", options.padding_row, nn::parse_padding_row, nn::padding_row_name,
             "The padding's embedding: trained, frozen, or zero and frozen");
  add_number(app, "--embedding-bound", options.embedding_bound, at_least(0), "Tokens start as U(-X, X); 0: as N(0, 1)");
}

void settle_model_options(CLI::App& app, ModelOptions& options, Index nominal) {
  settle_option(app, "--max-length", options.encoder.max_length, nominal);
  if (options.encoder.attention.kind != "paramixer") return;
  CLI::Option& model = *app.get_option("--model");
  if (model.count() == 0) {
    options.kind = ModelKind::mixer;
    model.default_str("mixer");
  }
  settle_option(app, "--heads", options.encoder.attention.heads, 1);
}

std::string padding_option(const ModelOptions& options) {
  const nn::AttentionConfig& a = options.encoder.attention;
  if (options.mix_padding) return "--mix-padding";
  if (a.kind == "paramixer" && a.paramixer.mix_padding) return "--paramixer-mix-padding";
  if (a.kind == "nystrom" && a.nystrom.mask != nn::NystromMask::isolated)
    return cat("--nystrom-mask ", nn::nystrom_mask_name(a.nystrom.mask));
  if (a.kind == "nystrom" && a.nystrom.segments == nn::NystromSegments::padded) return "--nystrom-segments padded";
  return "";
}

std::vector<UnreadOption> unread_model_options(const CLI::App& app, const ModelOptions& options) {
  std::vector<UnreadOption> unread = unread_attention_options(app, options.encoder.attention);
  const std::vector<UnreadOption> other = unread_by_kind(app, options.kind);
  unread.insert(unread.end(), other.begin(), other.end());
  return unread;
}

void check_model_options(const CLI::App& app, const ModelOptions& options, Index pad_to) {
  const Index length = options.encoder.max_length;
  refuse_unread(app, unread_by_kind(app, options.kind));
  if (options.kind == ModelKind::mixer && !options.mix_padding && options.encoder.pooling == nn::Pooling::flatten)
    throw OptionError("--pooling flatten of a mixer needs --mix-padding; without, --pooling is mean or cls");
  if (const std::string padding = padding_option(options); !padding.empty() && pad_to != length)
    throw OptionError(
        cat(padding, " needs --pad-to ", length, ", the --max-length: a sequence's result would depend on its batch"));
  check_attention(app, attention_of(options));
}

std::unique_ptr<nn::Classifier> make_model(const nn::Place& place, const ModelOptions& options, const TaskShape& task) {
  if (options.kind == ModelKind::encoder) {
    nn::SequenceClassifierConfig config = options.encoder;
    config.vocabulary = task.vocabulary;
    config.classes = task.classes;
    if (task.parts == 2) return std::make_unique<PairClassifier>(place, config, options.pair_features);
    return std::make_unique<nn::SequenceClassifier>(place, config);
  }
  if (task.parts == 2) throw OptionError("--model mixer takes one sequence; a task of pairs needs --model encoder");
  nn::TokenMixerConfig config = mixer_config(options);
  config.vocabulary = task.vocabulary;
  config.mixer.outputs = task.classes;
  return std::make_unique<nn::TokenMixer>(place, config);
}

}  // namespace subquad::lra
