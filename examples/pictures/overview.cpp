// The picture of all five attentions.
#include <algorithm>

#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"
#include "subquad/kernels/chord_matmul/chord_matmul.h"
#include "subquad/nn/attention/fsat.h"
#include "subquad/nn/attention/nystrom.h"
#include "subquad/nn/attention/paramixer.h"

namespace subquad::pictures {

namespace {

constexpr int kCell = 6;
constexpr double kSide = kTokens * kCell, kTop = 16;

void draw_softmax(Svg& svg, double x) {
  svg.matrix(softmax_matrix(), {.x = x, .y = kTop, .cell = kCell});
}

void draw_nystrom(Svg& svg, double x) {
  constexpr Index kLandmarks = 4;
  constexpr int kSmall = 4;
  const auto attention = small_attention({.kind = "nystrom", .nystrom = {.landmarks = kLandmarks, .conv_kernel = 0}});
  const nn::NystromFactors f = dynamic_cast<const nn::NystromAttention&>(*attention).factors(input());
  double left = x + 2;
  for (const Tensor& factor : {f.f, f.z, f.s}) {
    const Tensor rows = factor.select(0, 0).select(0, 0);
    svg.matrix(rows, {.x = left, .y = kTop + (kSide - static_cast<double>(rows.dim(0)) * kSmall) / 2, .cell = kSmall},
               signs(rows));
    left += static_cast<double>(rows.dim(1)) * kSmall + 6;
  }
}

void draw_fsat(Svg& svg, double x) {
  const nn::AttentionConfig config{.kind = "fsat", .fsat = {.lags = 5, .columns = 3, .window = 1}};
  const auto attention = small_attention(config);
  const Tensor lags = dynamic_cast<const nn::FsatAttention&>(*attention).decide(input()).chosen.lags.contiguous();
  const auto chosen = lags.span<std::int64_t>();
  svg.matrix(mixing_matrix(config), {.x = x, .y = kTop, .cell = kCell}, [&](Index i, Index j) {
    const bool lag = std::find(chosen.begin(), chosen.end(), (j - i + kTokens) % kTokens) != chosen.end();
    return lag ? Mark{} : Mark{.shape = Shape::disc, .ink = Ink::orange};
  });
}

// A pile of cards: by the chord protocol all factors have their entries in the same places.
void draw_paramixer(Svg& svg, double x) {
  constexpr int kSmall = 4;
  constexpr double kCard = kTokens * kSmall;
  const auto attention = small_attention({.kind = "paramixer"});
  const auto& mixer = dynamic_cast<const nn::Paramixer&>(*attention);
  const Tensor weights = mixer.link_weights(input()).value();
  const auto count = static_cast<Index>(mixer.links().size());
  for (Index m = 0; m < count; ++m) {
    const Tensor factor = kernels::chord_matmul(weights.select(0, m).contiguous(), unit(kTokens).unsqueeze(0),
                                                mixer.links()[static_cast<std::size_t>(m)], {}, true)
                              .select(0, 0);
    const double shift = static_cast<double>(m) * (kSide - kCard) / static_cast<double>(count - 1);
    svg.outline(x + shift, kTop + shift, kCard, kCard, "card");
    svg.matrix(factor, {.x = x + shift, .y = kTop + shift, .cell = kSmall}, signs(factor));
  }
}

void draw_combiner(Svg& svg, double x) {
  constexpr Index kSegment = 6;
  svg.matrix(mixing_matrix({.kind = "combiner", .combiner = {.segment = kSegment}}), {.x = x, .y = kTop, .cell = kCell},
             [](Index i, Index j) {
               const bool direct = i / kSegment == j / kSegment;
               return direct ? Mark{} : Mark{.shape = Shape::small_square, .ink = Ink::orange};
             });
}

}  // namespace

std::string overview() {
  Svg svg(kWide, 230, "Which entries of the attention matrix each of the five mechanisms computes");
  struct Panel {
    std::string_view name, what, note;
    void (*draw)(Svg&, double);
  };
  const Panel panels[] = {{"softmax", "all N×N, never stored", "", draw_softmax},
                          {"Nyströmformer", "N×m · m×m · m×N", "", draw_nystrom},
                          {"FSAT", "predicted lags and columns", "(our reconstruction)", draw_fsat},
                          {"Paramixer", "log₂N sparse factors", "(by the chord protocol)", draw_paramixer},
                          {"Combiner", "own block, others as wholes", "", draw_combiner}};
  double x = 20;
  for (const Panel& panel : panels) {
    panel.draw(svg, x);
    svg.text(x + kSide / 2, kTop + kSide + 22, panel.name, {.anchor = Anchor::middle, .size = 15, .bold = true});
    svg.text(x + kSide / 2, kTop + kSide + 40, panel.what, {.anchor = Anchor::middle, .size = 11, .soft = true});
    if (!panel.note.empty())
      svg.text(x + kSide / 2, kTop + kSide + 55, panel.note, {.anchor = Anchor::middle, .size = 11, .soft = true});
    x += kSide + 20;
  }
  return svg.str();
}

}  // namespace subquad::pictures
