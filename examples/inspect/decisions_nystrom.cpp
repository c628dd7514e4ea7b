// Nyströmformer: which positions each landmark averages, the three factors, and how well the middle one is inverted.
#include "subquad/examples/inspect/decisions.h"
#include "subquad/nn/attention/nystrom.h"

namespace subquad::inspect {

namespace {

// First and last position that each landmark averages.
Json landmark_names(const Tensor& means, const PositionNames& names) {
  Json list = Json::array();
  for (Index l = 0; l < means.dim(0); ++l) {
    Index first = -1, last = -1;
    for (Index i = 0; i < means.dim(1); ++i) {
      if (means.select(0, l).slice(0, i, i + 1).item<float>() == 0) continue;
      if (first < 0) first = i;
      last = i;
    }
    list.push_back(first < 0 ? "empty" : span_text(names, first, last));
  }
  return list;
}

std::vector<double> residual_curve(const Tensor& residuals, Index head) {  // [T + 1, 1, H]
  std::vector<double> curve;
  for (Index t = 0; t < residuals.dim(0); ++t)
    curve.push_back(residuals.select(0, t).select(0, 0).slice(0, head, head + 1).item<double>());
  return curve;
}

Json taps_chart(const Tensor& taps, Index head) {
  const Tensor row = taps.to(kCpu).select(0, head).contiguous();
  Line curve{"tap", {}};
  const auto values = row.span<float>();
  const double middle = static_cast<double>(values.size() / 2);
  for (std::size_t i = 0; i < values.size(); ++i) curve.points.push_back({static_cast<double>(i) - middle, values[i]});
  return charts({{.title = "The convolution beside it",
                  .about = "What a position adds of the values around it; it stands in the mixing matrix as a band.",
                  .x = "key − query (positions)",
                  .y = "weight",
                  .lines = {curve}}});
}

Json factor_pictures(const nn::NystromFactors& f, Index head, const Json& landmarks, bool taps, Pictures& pictures) {
  const Side marks = {.what = "landmark", .names = landmarks};
  const auto of = [head](const Tensor& factor) { return factor.to(kCpu).select(0, 0).select(0, head); };
  const Index from = pictures.add(
      {"F", "F = softmax(q k̃ᵀ)", "Queries against the landmarks' keys.", "probabilities", of(f.f), kQueries, marks});
  const Index between =
      pictures.add({"A", "A = softmax(q̃ k̃ᵀ)", "Landmarks against landmarks.", "probabilities", of(f.a), marks, marks});
  const Index inverse =
      pictures.add({"Z", "Z ≈ A⁻¹", "What the pseudo-inverse made of it.", "inverse", of(f.z), marks, marks});
  const Index to = pictures.add(
      {"S", "S = softmax(q̃ kᵀ)", "Landmarks' queries against the keys.", "probabilities", of(f.s), marks, kKeys});
  return picture_groups({{from}, {between, inverse}, {to}},
                        taps ? "The mixing matrix is F Z S + convolution." : "The mixing matrix is F Z S.");
}

}  // namespace

std::vector<Json> nystrom_decisions(const DecisionInput& in) {
  const auto& attention = dynamic_cast<const nn::NystromAttention&>(*in.layer.attention);
  const nn::NystromConfig& config = attention.config();
  const bool taps = attention.taps().defined();
  const Index positions = in.layer.in.values.dim(1);
  std::vector<Json> sections;
  if (config.exact_when_covered && config.landmarks >= positions) {
    const std::string about =
        cat("Nothing: there are no more positions (", positions, ") than landmarks (", config.landmarks,
            "), and then each head is softmax attention itself", taps ? ", with the convolution beside it" : "",
            ". Its factors are not used; --exact-when-covered false would use them.");
    for (Index h = 0; h < attention.heads(); ++h)
      sections.push_back(
          section("What the mechanism decided", about,
                  taps ? std::vector<Json>{taps_chart(attention.taps().value(), h)} : std::vector<Json>{}));
    return sections;
  }
  const nn::NystromFactors factors = attention.factors(in.layer.in);
  const nn::PinvResiduals residuals = nn::pinv_residuals(factors.a, config);
  const Json landmarks = landmark_names(factors.means.to(kCpu).select(0, 0), in.names);
  const std::string about =
      "Means of queries and keys over segments, the landmarks, stand for all. F and S are softmaxes against them; "
      "between them stands the inverse Z of the landmarks' own matrix.";
  for (Index h = 0; h < attention.heads(); ++h) {
    std::vector<Json> parts = {
        factor_pictures(factors, h, landmarks, taps, in.pictures),
        charts({{.title = "How far Z is from inverting A",
                 .about = "After each step. Z damps what it cannot invert, so of a nearly singular A some stays.",
                 .x = "step",
                 .y = "|A Z − I|",
                 .log = true,
                 .lines = {line("Frobenius", residual_curve(residuals.frobenius, h)),
                           line("largest", residual_curve(residuals.largest, h))}}})};
    if (taps) parts.push_back(taps_chart(attention.taps().value(), h));
    sections.push_back(section("What the mechanism decided", about, parts));
  }
  return sections;
}

}  // namespace subquad::inspect
