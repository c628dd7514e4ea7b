#include "subquad/examples/inspect/layer_page.h"

#include <algorithm>
#include <cmath>

#include "subquad/examples/inspect/decisions.h"
#include "subquad/examples/inspect/numbers_section.h"

namespace subquad::inspect {

namespace {

struct Distance {
  double relative = 0;  // |A - S| / |S|, roots of sums of squares
  double largest = 0;   // of the differences' magnitudes
  double negative = 0;  // share of A's absolute sum that its negative entries have
};

double negative_share(const Tensor& matrix) {
  const Tensor all = matrix.contiguous();
  double negative = 0, sum = 0;
  for (const float x : all.span<float>()) {
    sum += std::abs(static_cast<double>(x));
    if (x < 0) negative -= x;
  }
  return sum > 0 ? negative / sum : 0;
}

Distance distance(const Tensor& a, const Tensor& b) {
  const Tensor first = a.contiguous(), second = b.contiguous();
  const auto x = first.span<float>(), y = second.span<float>();
  double squares = 0, of_second = 0;
  Distance found;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double gap = static_cast<double>(x[i]) - y[i];
    squares += gap * gap;
    of_second += static_cast<double>(y[i]) * y[i];
    found.largest = std::max(found.largest, std::abs(gap));
  }
  found.relative = of_second > 0 ? std::sqrt(squares / of_second) : 0;
  return found;
}

Picture square(const std::string& id, const std::string& title, const std::string& about, const std::string& scale,
               const Tensor& values = {}) {
  return {
      .id = id, .title = title, .about = about, .scale = scale, .values = values, .rows = kQueries, .columns = kKeys};
}

// What the mixing matrix has beyond F Z S: nothing outside of a band, where both are rounded alike.
Tensor band(const Tensor& mixing, const Tensor& alone, Index taps) {
  Tensor out = zeros(mixing.shape(), kFloat32, kCpu);
  const auto a = mixing.view<const float, 2>(), b = alone.view<const float, 2>();
  const auto made = out.view<float, 2>();
  for (Index i = 0; i < a.dim(0); ++i)
    for (Index j = std::max<Index>(0, i - taps / 2); j < std::min(a.dim(1), i + taps / 2 + 1); ++j)
      made(i, j) = a(i, j) - b(i, j);
  return out;
}

std::vector<Index> square_pictures(const HeadFacts& head, Index taps, Pictures& pictures) {
  const Known *alone = named(head, kAlone), *softmax = named(head, kSoftmax);
  const std::string whole = alone ? "weights with the convolution" : "weights";
  std::vector<Index> group = {pictures.add(square("mixing", "Mixing matrix",
                                                  cat("What the attention really does: row i has what query i takes of "
                                                      "every key's value",
                                                      alone ? ": F Z S + convolution." : "."),
                                                  whole, head.matrices[0].matrix))};
  if (alone)
    group.push_back(pictures.add(square("alone", kAlone,
                                        "The mixing matrix without the convolution: what stands for "
                                        "softmax's.",
                                        "weights", alone->matrix)));
  if (softmax) {
    const Index compared = group.back();
    group.push_back(pictures.add(square("softmax", "Exact softmax",
                                        "What softmax attention would make of the same queries and keys.", "weights",
                                        softmax->matrix)));
    group.push_back(pictures.add_difference(
        square("difference", "Difference",
               alone ? "F Z S minus the exact softmax." : "The mixing matrix minus the exact softmax.", "difference"),
        compared, group.back()));
  }
  if (alone)
    group.push_back(pictures.add(square("convolution", "Convolution",
                                        "The third part: what a position adds of the values around it.", whole,
                                        band(head.matrices[0].matrix, alone->matrix, taps))));
  return group;
}

std::string distance_text(const HeadFacts& head, const Known& softmax) {
  const Known *alone = named(head, kAlone), &compared = approximation(head);
  const Distance apart = distance(compared.matrix, softmax.matrix);
  std::string said = cat(alone ? "F Z S and softmax's matrix" : "The two", " differ by ", share(apart.relative),
                         " of the exact one (Frobenius norms), at most by ", digits(apart.largest), " in one entry.");
  if (alone)
    said += cat(" The mixing matrix is F Z S + convolution, which approximates nothing: with it the difference is ",
                share(distance(head.matrices[0].matrix, softmax.matrix).relative), ".");
  return said;
}

Json matrices_section(const HeadFacts& head, Index taps, Pictures& pictures) {
  std::vector<Json> parts = {picture_groups({square_pictures(head, taps, pictures)}, "", true)};
  if (const Known* softmax = named(head, kSoftmax)) parts.push_back(text(distance_text(head, *softmax)));
  const double negative = negative_share(head.matrices[0].matrix);
  if (negative > 0)
    parts.push_back(
        text(cat("Negative weights make up ", share(negative),
                 " of the mixing matrix's absolute sum; "
                 "softmax has none. They are orange and hatched; cells too small for that lie around a middle "
                 "grey, which is 0, negative ones on one side of it and positive ones on the other.")));
  return section("Who looks at whom", "", parts);
}

// Why it is softmax, where its options tell.
std::string exact_reason(const nn::AttentionConfig& config, Index n) {
  if (config.kind == "nystrom" && config.nystrom.exact_when_covered && config.nystrom.landmarks >= n)
    return cat("there are no more positions (", n, ") than landmarks (", config.nystrom.landmarks, ")");
  if (config.kind == "fsat" && config.fsat.lags >= n) return cat("every diagonal is kept: there are ", n);
  if (config.kind == "fsat" && config.fsat.columns >= n) return cat("every column is kept: there are ", n);
  if (config.kind == "fsat") return "the diagonals and columns that are kept hold every key of every query";
  if (config.kind == "combiner") return "every query sees all tokens directly";
  if (config.kind == "local") return "the window holds every key of every query";
  return "";
}

// Two ways to the same matrix differ by no more than that, as a share of it.
constexpr double kSame = 1e-5;

// By the numbers, not by the options: "" where anything is approximated.
std::string exact_text(const std::vector<HeadFacts>& heads, const nn::AttentionConfig& config) {
  if (config.kind == "softmax") return "";
  for (const HeadFacts& head : heads) {
    const Known* softmax = named(head, kSoftmax);
    if (!softmax || distance(approximation(head).matrix, softmax->matrix).relative > kSame) return "";
  }
  const std::string reason = exact_reason(config, heads[0].matrices[0].matrix.dim(0));
  return cat("On this input ",
             named(heads[0], kAlone) ? "this is softmax attention itself, and the convolution beside it"
                                     : "this is softmax attention itself",
             reason.empty() ? "" : ", as ", reason,
             ". Nothing is approximated; a longer input shows what the mechanism does.");
}

}  // namespace

Json layer_record(const LayerSight& layer, const LayerMatrices& matrices, const nn::AttentionConfig& config,
                  const PositionNames& names, Pictures& pictures) {
  const std::vector<HeadFacts> all = head_facts(layer, matrices, config);
  Json heads = Json::array();
  std::vector<Json> sections;
  for (const HeadFacts& head : all) sections.push_back(matrices_section(head, config.nystrom.conv_kernel, pictures));
  const std::vector<Json> decided = decisions({layer, config, names, pictures});
  for (std::size_t h = 0; h < all.size(); ++h)
    heads.push_back({{"sections", {sections[h], numbers_section(all[h], config), decided[h]}}});
  return {{"about", mechanism_text(config)}, {"exact", exact_text(all, config)}, {"heads", heads}};
}

}  // namespace subquad::inspect
