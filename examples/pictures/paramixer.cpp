// Pictures of Paramixer.
#include "subquad/nn/attention/paramixer.h"
#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"
#include "subquad/kernels/chord_matmul/chord_matmul.h"

namespace subquad::pictures {

namespace {

using nn::LinkProtocol;

struct Protocol {
  LinkProtocol kind;
  Index links;
  std::string_view name;
  std::string_view where;
};

constexpr Protocol kProtocols[] = {
    {LinkProtocol::chord, 0, "chord", "i, and 1, 2, 4, 8, 16 ahead, in every factor"},
    {LinkProtocol::cdil, 3, "cdil, 3 links", "i, and d ahead and behind, d = 1, 2, 4, 8, 16"},
    {LinkProtocol::butterfly, 0, "butterfly", "i, and i XOR d, d = 1, 2, 4, 8, 16; a partner beyond the end drops out"},
};

constexpr std::string_view kNumbers[] = {"₁", "₂", "₃", "₄", "₅"};

nn::AttentionConfig config_of(const Protocol& protocol) {
  return {.kind = "paramixer", .paramixer = {.protocol = protocol.kind, .links = protocol.links}};
}

Tensor tokens_unit() {  // [1, N, N]
  return unit(kTokens).unsqueeze(0);
}

// I + W_m as a full matrix: what it makes of the identity.
Tensor factor_matrix(const Tensor& weights, const Links& links) {
  return kernels::chord_matmul(weights.contiguous(), tokens_unit(), links, {}, /*residual=*/true).select(0, 0);
}

void draw_row(Svg& svg, const Protocol& protocol, double y) {
  constexpr int kCell = 5;
  const auto attention = small_attention(config_of(protocol));
  const auto& mixer = dynamic_cast<const nn::Paramixer&>(*attention);
  const Tensor weights = mixer.link_weights(input()).value();  // [M, 1, N, L]
  heading(svg, 20, y, protocol.name, protocol.where);
  const auto draw = [&](const Tensor& matrix, Index place, const std::string& below) {
    const Grid grid{.x = 20 + static_cast<double>(place) * 136, .y = y + 30, .cell = kCell};
    svg.matrix(matrix, grid, signs(matrix));
    svg.text(grid.middle(kTokens / 2), grid.top(kTokens) + 16, below, {.anchor = Anchor::middle, .size = 12});
  };
  const auto count = static_cast<Index>(mixer.links().size());
  for (Index m = 0; m < count; ++m)
    draw(factor_matrix(weights.select(0, m), mixer.links()[static_cast<std::size_t>(m)]), m, cat("I + W", kNumbers[m]));
  draw(mixing_matrix(config_of(protocol)), count, "their product");
}

// The positions that row kQuery of (I + W_m) ... (I + W_1) reads, for m = 0 ... M: 1 where it reads one.
Tensor reach(const std::vector<Links>& links) {
  const auto count = static_cast<Index>(links.size());
  Tensor rows = zeros({count + 1, kTokens}, kFloat64, kCpu);
  rows.data<double>()[kQuery] = 1;
  for (Index m = 1; m <= count; ++m) {
    const Tensor ones = full({m, 1, kTokens, links.front().count()}, 1, kFloat64, kCpu);  // positive: nothing cancels
    const std::vector<Links> first(links.begin(), links.begin() + m);
    const Tensor product = kernels::chord_chain(ones, tokens_unit(), first, kernels::MixResidual::running).out;
    const std::vector<double> row = row_of(product.select(0, 0), kQuery);
    for (Index j = 0; j < kTokens; ++j) rows.data<double>()[m * kTokens + j] = row[static_cast<std::size_t>(j)] > 0;
  }
  return rows;
}

void draw_reach(Svg& svg, const Protocol& protocol, double x, double y) {
  const auto attention = small_attention(config_of(protocol));
  const Tensor rows = reach(dynamic_cast<const nn::Paramixer&>(*attention).links());
  const Grid grid{.x = x, .y = y, .cell = 10};
  svg.text(x, y - 10, protocol.name, {.bold = true});
  svg.matrix(rows, grid, [](Index, Index j) {
    return j == kQuery ? Mark{.shape = Shape::disc, .ink = Ink::orange} : Mark{.shape = Shape::small_square};
  });
  for (Index m = 0; m < rows.dim(0); ++m) {
    double seen = 0;
    for (const double one : row_of(rows, m)) seen += one;
    svg.text(x + kTokens * 10 + 4, grid.top(m) + 9, digits(seen, 0), {.size = 10});
  }
}

}  // namespace

std::string paramixer() {
  Svg svg(kWide, 600, "Paramixer: the sparse factors of three protocols, and the dense matrix that they multiply to");
  double y = 28;
  for (const Protocol& protocol : kProtocols) {
    draw_row(svg, protocol, y);
    y += 196;
  }
  sign_legend(svg, 640, 16);
  return svg.str();
}

std::string paramixer_reach() {
  Svg svg(kWide, 168, "Paramixer: the positions that one position has heard of after each factor");
  svg.text(20, 26,
           cat("What position ", kQuery,
               " (●) has heard of after 0, 1, ... 5 factors, one row each; at the end of a row, how many that are"));
  double x = 32;
  for (const Protocol& protocol : kProtocols) {
    draw_reach(svg, protocol, x, 66);
    x += 266;
  }
  for (Index m = 0; m <= 5; ++m)
    svg.text(26, 66 + static_cast<double>(m) * 10 + 9, cat(m), {.anchor = Anchor::end, .size = 10});
  svg.text(20, 150, "24 is no power of two: some partners of the butterfly drop out, and some pairs stay apart.",
           kRemark);
  return svg.str();
}

}  // namespace subquad::pictures
