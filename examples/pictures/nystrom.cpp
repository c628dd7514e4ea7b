// Pictures of Nystromformer.
#include <cmath>

#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/pinv/pinv.h"
#include "subquad/nn/attention/nystrom.h"

namespace subquad::pictures {

namespace {

constexpr Index kLandmarks = 6, kSegment = kTokens / kLandmarks;

nn::AttentionConfig config_of(Index landmarks) {
  return {.kind = "nystrom", .nystrom = {.landmarks = landmarks, .conv_kernel = 0}};
}

nn::NystromFactors factors() {
  const auto attention = small_attention(config_of(kLandmarks));
  return dynamic_cast<const nn::NystromAttention&>(*attention).factors(input());
}

Tensor plain(const Tensor& factor) {  // [1, 1, rows, columns] -> [rows, columns]
  return factor.select(0, 0).select(0, 0);
}

// A row of tokens, and the landmarks that average them.
void draw_segments(Svg& svg, double x, double y) {
  constexpr double kToken = 15;
  const Words small{.anchor = Anchor::middle, .size = 9};
  for (Index i = 0; i < kTokens; ++i) {
    const double left = x + static_cast<double>(i) * kToken;
    svg.outline(left, y, kToken, kToken);
    svg.text(left + kToken / 2, y + 11, cat(i), small);
  }
  for (Index m = 0; m < kLandmarks; ++m) {
    const double left = x + static_cast<double>(m * kSegment) * kToken, middle = left + kSegment * kToken / 2;
    svg.line(left + 3, y + 21, left + kSegment * kToken - 3, y + 21, "strong");
    svg.arrow(middle, y + 21, middle, y + 40);
    svg.bar(middle - 11, y + 40, 22, 18, Ink::orange, 3);
    svg.outline(middle - 11, y + 40, 22, 18);
    svg.text(middle, y + 53, cat(m), small);
  }
}

void draw_factor(Svg& svg, const Tensor& factor, const Grid& grid, std::string_view name, std::string_view shape) {
  svg.text(grid.x, grid.y - 22, name, {.size = 14, .bold = true});
  svg.text(grid.x, grid.y - 7, shape, {.size = 11, .soft = true});
  svg.matrix(factor, grid, signs(factor));
}

}  // namespace

std::string nystrom() {
  Svg svg(kWide, 706, "Nystromformer: landmarks, the three factors, their product and what it misses");
  const nn::NystromFactors f = factors();
  const Tensor exact = softmax_matrix(), product = mixing_matrix(config_of(kLandmarks));
  const double y = 92;
  heading(svg, 30, 28, "Three thin factors in place of one square", "");
  draw_factor(svg, plain(f.f), {.x = 30, .y = y, .cell = 9}, "F", "24 × 6");
  svg.text(96, y + 30, "×", {.size = 18});
  draw_factor(svg, plain(f.z), {.x = 120, .y = y, .cell = 9}, "Z ≈ A⁻¹", "6 × 6");
  svg.text(186, y + 30, "×", {.size = 18});
  draw_factor(svg, plain(f.s), {.x = 210, .y = y, .cell = 9}, "S", "6 × 24");
  sign_legend(svg, 120, y + 92);
  svg.text(120, y + 132, "F: every query looks at 6 landmark keys.", kRemark);
  svg.text(120, y + 150, "S: 6 landmark queries look at every key.", kRemark);
  svg.text(120, y + 168, "A: landmark queries at landmark keys,", kRemark);
  svg.text(120, y + 186, "seen twice in F S; Z takes it out once.", kRemark);

  heading(svg, 458, 28, "Landmarks: means of segments", "of the queries, and likewise of the keys");
  draw_segments(svg, 458, 70);
  svg.text(458, 168, "Where the tokens of a segment are alike, their mean");
  svg.text(458, 186, "stands for each of them and nothing is lost.");
  svg.text(458, 212, "F and S look at every query and every key, so what");
  svg.text(458, 230, "all share stays: the bright columns 5 and 18.");
  svg.text(458, 258, "What a pair has to itself, the thin diagonals, turns");
  svg.text(458, 276, "into blocks as wide as a segment.");

  const Grid left{.x = 30, .y = 398, .cell = 10, .most = largest(exact)};
  Grid middle = left, right = left;
  middle.x = 300;
  right.x = 570;
  const Tensor missed = difference(product, exact);
  heading(svg, left.x, 352, "Their product F Z S", "rank 6, some weights below 0");
  svg.matrix(product, left, signs(product));
  tokens_along(svg, left, kTokens);
  heading(svg, middle.x, 352, "softmax", "the same q and k");
  svg.matrix(exact, middle);
  heading(svg, right.x, 352, "F Z S − softmax", cat("largest ", digits(largest(missed), 2), ", on the same scale"));
  svg.matrix(missed, right, signs(missed));
  legend(svg, 30, 664, left.most);
  return svg.str();
}

namespace {

// What T steps make of a singular value s with c s^2 = x, times s: the inverse of the 1 x 1 matrix [x] times x.
double inverted(double x, int steps_taken) {
  const Tensor z = kernels::pinv(full({1, 1}, x, kFloat64, kCpu), {.iterations = steps_taken}).out;
  return x * z.item<double>();
}

struct Damping {
  int steps;
  const char* line;
  double label;  // x at which the curve's name stands
};

void draw_damping(Svg& svg, double x, double y) {
  constexpr double kDecades = 7, kWidth = 420, kHeight = 150;
  svg.outline(x, y, kWidth, kHeight);
  for (int decade = 0; decade <= 7; ++decade) {
    const double at = x + kWidth * decade / kDecades;
    svg.line(at, y + kHeight, at, y + kHeight + 4);
    const char* const names[] = {"10⁻⁷", "10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³", "0.01", "0.1", "1"};
    svg.text(at, y + kHeight + 18, names[decade], {.anchor = Anchor::middle, .size = 11});
  }
  svg.text(x - 6, y + 8, "1", {.anchor = Anchor::end, .size = 11});
  svg.text(x - 6, y + kHeight, "0", {.anchor = Anchor::end, .size = 11});
  svg.text(x + kWidth / 2, y + kHeight + 34, "c σ², σ a singular value of A", {.anchor = Anchor::middle, .size = 12});
  for (const Damping& d : {Damping{2, "dotted", 360}, Damping{6, "strong", 238}, Damping{12, "dashed", 54}}) {
    std::string path;
    for (int i = 0; i <= 70; ++i) {
      const double value = inverted(std::pow(10, -kDecades + kDecades * i / 70), d.steps);
      path += cat(i == 0 ? 'M' : 'L', x + kWidth * i / 70, ' ',
                  y + kHeight - static_cast<double>(steps(value, 1 / kHeight)));
    }
    svg.curve(path, d.line);
    svg.text(x + d.label, y + 96, cat("T = ", d.steps), {.size = 12, .bold = d.steps == 6});
  }
}

}  // namespace

std::string pinv() {
  Svg svg(kWide, 440,
          "The pseudo-inverse of Nystromformer: six steps towards A Z = I, and which singular values are inverted");
  const Tensor a = factors().a;
  const kernels::PinvOutput z = kernels::pinv(a.contiguous(), {.iterations = 6});
  heading(svg, 30, 28, "A Z_t on its way to the identity", "Z₀ = c Aᵀ; the number is the largest |A Z_t − I|");
  const auto draw = [&](const Tensor& matrix, int place, const std::string& name, const std::string& below) {
    const Grid grid{.x = 30 + place * 114.0, .y = 84, .cell = 15, .most = 1};
    svg.text(grid.x, grid.y - 8, name, {.bold = true});
    svg.matrix(matrix, grid, signs(matrix));
    svg.text(grid.x + 45, grid.y + 108, below, {.anchor = Anchor::middle, .size = 12});
  };
  draw(plain(a), 0, "A", "");
  int place = 1;
  for (const int t : {0, 1, 2, 3, 4, 6}) {
    const Tensor step = t < 6 ? z.steps.select(0, t) : z.out;
    const Tensor near = kernels::matmul(plain(a).contiguous(), plain(step).contiguous());
    draw(near, place++, cat("t = ", t), digits(largest(difference(near, unit(kLandmarks))), 4));
  }
  heading(svg, 30, 232, "How much of 1 / σ is reached after T steps", "");
  draw_damping(svg, 50, 246);
  svg.text(500, 262, "Steps multiply what is small by 13/4,");
  svg.text(500, 280, "so six of them reach singular values");
  svg.text(500, 298, "with c σ² above a few thousandths.");
  svg.text(500, 330, "Smaller ones are damped, not inverted:");
  svg.text(500, 348, "noise stays noise. T is a part of the model,");
  svg.text(500, 366, "not a matter of precision.");
  return svg.str();
}

}  // namespace subquad::pictures
