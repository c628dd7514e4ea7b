// The picture of ranks: singular values of what each attention multiplies values with.
#include <cmath>

#include "subquad/examples/inspect/singular_values.h"
#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"
#include "subquad/kernels/matmul/matmul.h"

namespace subquad::pictures {

namespace {

constexpr double kLeft = 62, kTop = 54, kStep = 20, kDecade = 20;
constexpr int kHighest = 2, kLowest = -8;  // exponents

// Where a singular value stands; what is below the lowest exponent counts as 0, and stands on the axis.
double place(double value) {
  if (value < std::pow(10, kLowest)) return kTop + kDecade * (kHighest - kLowest);
  return kTop + static_cast<double>(steps((kHighest - std::log10(value)) * kDecade, 1));
}

void draw_axes(Svg& svg) {
  const double bottom = kTop + kDecade * (kHighest - kLowest);
  svg.outline(kLeft, kTop, kStep * kTokens, bottom - kTop);
  const std::string_view names[] = {"100", "1", "0.01", "10⁻⁴", "10⁻⁶", "0"};
  for (int i = 0; i <= 5; ++i)
    svg.text(kLeft - 6, kTop + 2 * kDecade * i + 4, names[i], {.anchor = Anchor::end, .size = 11});
  for (Index i = 0; i < kTokens; ++i)
    if (i == 0 || i % 6 == 5)
      svg.text(kLeft + (static_cast<double>(i) + 0.5) * kStep, bottom + 15, cat(i + 1),
               {.anchor = Anchor::middle, .size = 11});
  svg.text(kLeft + kStep * kTokens / 2, bottom + 32, "number of the singular value",
           {.anchor = Anchor::middle, .size = 12});
}

struct Curve {
  std::string_view name, kind;
  Tensor matrix;
  double label;  // where its name stands, from the top
};

void draw_curve(Svg& svg, const Curve& curve) {
  const Tensor values = inspect::singular_values(curve.matrix);
  const auto s = values.span<double>();
  std::string path;
  for (std::size_t i = 0; i < s.size(); ++i)
    path += cat(i == 0 ? 'M' : 'L', kLeft + (static_cast<double>(i) + 0.5) * kStep, ' ', place(s[i]));
  svg.curve(path, curve.kind);
  Index rank = 0;
  for (const double value : s) rank += value > s[0] * 1e-10;
  const double x = kLeft + kStep * kTokens + 20, y = kTop + curve.label;
  svg.line(x, y - 4, x + 36, y - 4, curve.kind);
  svg.text(x + 46, y, curve.name, {.bold = true});
  svg.text(x + 46, y + 16, cat("rank ", rank, " of ", kTokens), kRemark);
}

Tensor logits() {
  const QueriesAndKeys qk = queries_and_keys();
  Tensor out = zeros({kTokens, kTokens}, kFloat64, kCpu);
  kernels::matmul_into(qk.q.select(0, 0).select(0, 0).contiguous(),
                       qk.k.select(0, 0).select(0, 0).contiguous().transpose(0, 1), out,
                       1 / std::sqrt(static_cast<double>(kFeatures)));
  return out;
}

}  // namespace

std::string ranks() {
  Svg svg(kWide, 306,
          "Singular values of Paramixer's product, of softmax's matrix, of its logits and of Nystromformer's product");
  heading(svg, 24, 28, "Singular values: how many directions a matrix keeps apart", "");
  draw_axes(svg);
  const nn::AttentionConfig nystrom_config{.kind = "nystrom", .nystrom = {.landmarks = 6, .conv_kernel = 0}};
  const Curve curves[] = {{"Paramixer, chord", "strong", mixing_matrix({.kind = "paramixer"}), 14},
                          {"softmax", "dashed", softmax_matrix(), 64},
                          {"its logits q kᵀ, 16 features", "dotted", logits(), 114},
                          {"Nyström, 6 landmarks", "rule", mixing_matrix(nystrom_config), 164}};
  for (const Curve& curve : curves) draw_curve(svg, curve);
  return svg.str();
}

}  // namespace subquad::pictures
