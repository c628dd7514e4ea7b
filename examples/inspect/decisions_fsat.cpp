// FSAT, our reconstruction: the cross features that its choice is made by, the scores, and which lags and columns won.
#include <algorithm>

#include "subquad/core/error.h"
#include "subquad/examples/inspect/decisions.h"
#include "subquad/nn/attention/fsat.h"

namespace subquad::inspect {

namespace {

std::vector<double> row_of(const Tensor& scores, Index head) {  // [1, H, N]
  const Tensor row = scores.to(kCpu).select(0, 0).select(0, head).contiguous();
  const auto values = row.span<float>();
  return {values.begin(), values.end()};
}

std::vector<Index> chosen_of(const Tensor& chosen, Index head) {  // [1, H, K], -1 behind the last
  const Tensor row = chosen.to(kCpu).select(0, 0).select(0, head).contiguous();
  std::vector<Index> list;
  for (const Index x : row.span<std::int64_t>())
    if (x >= 0) list.push_back(x);
  return list;
}

// Lags count round the sequence: n - 1 is the key before.
Index signed_lag(Index lag, Index n) {
  return lag > n / 2 ? lag - n : lag;
}

// Sorted by what a lag means, from keys far before to keys far behind.
// Lags up to the window are kept whatever their scores.
bool is_forced(Index lag, Index n, Index window) {
  return std::abs(signed_lag(lag, n)) <= window;
}

Chart lag_chart(const std::vector<double>& scores, const std::vector<Index>& chosen, Index n, Index window) {
  Chart chart{.title = "Score of each diagonal",
              .about = cat(chosen.size(), " of ", n, " are kept."),
              .x = "key − query (positions, round the sequence)",
              .y = "score",
              .lines = {{"score", {}}},
              .mark_name = "kept by their score",
              .forced_name = "always kept (the window)"};
  for (Index lag = -((n - 1) / 2); lag <= n / 2; ++lag)
    chart.lines[0].points.push_back({static_cast<double>(lag), scores[static_cast<std::size_t>((lag + n) % n)]});
  for (const Index lag : chosen)
    (is_forced(lag, n, window) ? chart.forced : chart.marks)
        .push_back({static_cast<double>(signed_lag(lag, n)), scores[static_cast<std::size_t>(lag)]});
  return chart;
}

Chart column_chart(const std::vector<double>& scores, const std::vector<Index>& chosen, Index n) {
  Chart chart{.title = "Score of each column",
              .about = cat(chosen.size(), " of ", n, " keys are seen by every query."),
              .x = "key",
              .y = "score",
              .lines = {line("score", std::vector<double>(scores.begin(), scores.begin() + n))},
              .mark_name = "the columns that are kept"};
  for (const Index column : chosen)
    chart.marks.push_back({static_cast<double>(column), scores[static_cast<std::size_t>(column)]});
  return chart;
}

Json cross_pictures(const nn::FsatAttention::Cross& cross, Index head, Index heads, Pictures& pictures) {
  const auto of = [&](const Variable& feature) {  // [1, N, H R] -> [R, N]
    const Tensor all = feature.value().to(kCpu).select(0, 0);
    const Index channels = all.dim(1) / heads;
    return all.slice(1, head * channels, (head + 1) * channels).transpose(0, 1);
  };
  const Side channels = {.what = "channel", .names = nullptr};
  const Index lag = pictures.add({"lag features",
                                  "Cross features of the diagonals",
                                  "All products of two sequences, pooled along each lag by the FFT.",
                                  "lag features",
                                  of(cross.lag),
                                  channels,
                                  {"lag", nullptr, true}});
  const Index column = pictures.add({"column features", "Cross features of the columns",
                                     "The same, pooled along each key: sums, which need no FFT.", "column features",
                                     of(cross.col), channels, kKeys});
  return picture_groups({{lag}, {column}}, "What the two score heads read.");
}

// Those that the window keeps, or the others.
std::vector<Index> lags_of(const std::vector<Index>& chosen, Index n, Index window, bool forced) {
  std::vector<Index> lags;
  for (const Index lag : chosen)
    if (is_forced(lag, n, window) == forced) lags.push_back(signed_lag(lag, n));
  std::ranges::sort(lags);
  return lags;
}

std::vector<std::string> lags_row(const std::vector<Index>& lags, const std::string& why) {
  std::string list;
  for (const Index lag : lags) list += cat(list.empty() ? "" : ", ", lag);
  return {cat(count_of(std::ssize(lags), "diagonal"), ", key − query in positions, ", why),
          list.empty() ? "none" : list};
}

std::string kept_columns(const std::vector<Index>& chosen, const PositionNames& names) {
  std::string list;
  for (const Index column : chosen) list += cat(list.empty() ? "" : ", ", position_text(names, column));
  return list.empty() ? "none" : list;
}

}  // namespace

std::vector<Json> fsat_decisions(const DecisionInput& in) {
  const auto& attention = dynamic_cast<const nn::FsatAttention&>(*in.layer.attention);
  const NoGrad no_grad;
  const nn::FsatAttention::Cross cross = attention.cross(in.layer.in);
  const nn::FsatAttention::Decision decision = attention.decide(in.layer.in);
  const Mask& mask = in.layer.in.mask;
  const Index positions = in.layer.in.values.dim(1);
  const Index n = mask.defined() ? mask.lengths.item<std::int64_t>() : positions;
  const Index window = in.config.fsat.window;
  std::string about =
      "Our reconstruction of FSAT: all products of two sequences, which are made of the hidden states, are pooled "
      "along "
      "every diagonal (lag) by the FFT and along every column by sums; two score heads say which of them matter, and "
      "attention goes along those alone, and along the lags of the window whatever their score.";
  if (mask.defined() && !mask.prefix) about += " Padding is left out first: positions here count real tokens.";
  std::vector<Json> sections;
  for (Index h = 0; h < attention.heads(); ++h) {
    const std::vector<Index> lags = chosen_of(decision.chosen.lags, h), columns = chosen_of(decision.chosen.columns, h);
    std::vector<Json> parts;
    if (n > 0)
      parts.push_back(charts({lag_chart(row_of(decision.scores.lag.value(), h), lags, n, window),
                              column_chart(row_of(decision.scores.col.value(), h), columns, n)}));
    parts.push_back(
        table({"kept", "which"}, {lags_row(lags_of(lags, n, window, true), "always kept (the window)"),
                                  lags_row(lags_of(lags, n, window, false), "by their score"),
                                  {count_of(std::ssize(columns), "column"), kept_columns(columns, in.names)}}));
    parts.push_back(cross_pictures(cross, h, attention.heads(), in.pictures));
    sections.push_back(section("What the mechanism decided", about, parts));
  }
  return sections;
}

}  // namespace subquad::inspect
