#include "subquad/examples/inspect/decisions.h"

#include <algorithm>

#include "subquad/core/error.h"

namespace subquad::inspect {

namespace {

std::string nystrom_text(const nn::NystromConfig& c) {
  return cat("Nyströmformer: ", count_of(c.landmarks, "landmark"), ", ", count_of(c.pinv_iterations, "step"),
             " of the pseudo-inverse, ",
             c.conv_kernel > 0 ? cat("a convolution of ", count_of(c.conv_kernel, "tap"), " over the values beside it")
                               : std::string("no convolution beside it"),
             ".");
}

std::string fsat_text(const nn::FsatConfig& c) {
  return cat("FSAT, our reconstruction: attention along ", count_of(c.lags, "diagonal"), " and ",
             count_of(c.columns, "column"), " that a cross of ", count_of(c.cross, "channel"),
             " (of the diagonals by the FFT) predicts",
             c.window >= 0 ? cat(", lags up to ", c.window, " among them always") : std::string(), ".");
}

std::string paramixer_text(const nn::ParamixerConfig& c) {
  return cat("Paramixer: sparse factors one after another (", nn::link_protocol_name(c.protocol),
             ") whose weights small perceptrons make from the data; residual ", nn::mix_residual_name(c.residual),
             ". It has no queries and keys, so there is no softmax matrix to stand beside it.");
}

std::string combiner_text(const nn::CombinerConfig& c) {
  return cat("Combiner: direct tokens, and summaries of all others; pattern ", nn::combiner_pattern_name(c.pattern),
             c.segment > 0 ? cat(", segments of ", c.segment) : std::string(), ".");
}

}  // namespace

std::string mechanism_text(const nn::AttentionConfig& config) {
  const std::string causal = config.causal ? " Causal: no position sees a later one." : "";
  if (config.kind == "nystrom") return nystrom_text(config.nystrom) + causal;
  if (config.kind == "fsat") return fsat_text(config.fsat) + causal;
  if (config.kind == "paramixer") return paramixer_text(config.paramixer) + causal;
  if (config.kind == "combiner") return combiner_text(config.combiner) + causal;
  if (config.kind == "local")
    return cat("Local attention: softmax over the ", config.local.window, " nearest positions to either side.", causal);
  if (config.kind == "softmax") return "Softmax attention: every query weighs all keys." + causal;
  return cat("The attention '", config.kind, "'.", causal);
}

std::string span_text(const PositionNames& names, Index first, Index last) {
  std::string tokens;
  for (Index i = first; i <= std::min(last, first + 11); ++i)
    tokens += (names.bytes || i == first ? "" : " ") + names.tokens[static_cast<std::size_t>(i)];
  return cat(first, last > first ? cat("–", last) : std::string(), " ‘", tokens, last > first + 11 ? "…’" : "’");
}

std::string position_text(const PositionNames& names, Index position) {
  return span_text(names, position, position);
}

std::vector<Json> decisions(const DecisionInput& in) {
  const std::string& kind = in.config.kind;
  if (kind == "nystrom") return nystrom_decisions(in);
  if (kind == "fsat") return fsat_decisions(in);
  if (kind == "paramixer") return paramixer_decisions(in);
  if (kind == "combiner") return combiner_decisions(in);
  std::string said = cat("What '", kind, "' decides is not told yet: examples/inspect/decisions.cpp is where to tell.");
  if (kind == "local") said = "Nothing: which keys a query sees is fixed by the window.";
  if (kind == "softmax") said = "Nothing: every query sees every key, and the softmax alone weighs them.";
  return std::vector<Json>(static_cast<std::size_t>(in.layer.attention->heads()),
                           section("What the mechanism decided", said, {}));
}

}  // namespace subquad::inspect
