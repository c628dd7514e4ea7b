// Combiner: what each query sees directly, what through summaries, and what the summaries are made of.
#include <algorithm>

#include "subquad/core/error.h"
#include "subquad/examples/inspect/decisions.h"
#include "subquad/nn/attention/combiner.h"

namespace subquad::inspect {

namespace {

Json summary_names(const nn::CombinerSight& sight, const PositionNames& names) {
  Json list = Json::array();
  for (const std::vector<Index>& tokens : sight.tokens) {
    if (tokens.empty())
      list.push_back("of no token");
    else if (tokens.back() - tokens.front() + 1 == std::ssize(tokens))
      list.push_back(span_text(names, tokens.front(), tokens.back()));
    else
      list.push_back(cat(count_of(std::ssize(tokens), "token"), " from ", tokens.front(), " to ", tokens.back()));
  }
  return list;
}

// Sum of each row of [N, C].
std::vector<double> row_totals(const Tensor& matrix) {
  const Tensor all = matrix.contiguous();
  std::vector<double> sums;
  const auto width = static_cast<std::size_t>(all.dim(1));
  for (std::size_t i = 0; i < static_cast<std::size_t>(all.dim(0)); ++i) {
    double sum = 0;
    for (const float x : all.span<float>().subspan(i * width, width)) sum += x;
    sums.push_back(sum);
  }
  return sums;
}

// "1 token", "4 to 6 summaries"
std::string counts_text(const std::vector<std::vector<Index>>& sets, const std::string& thing) {
  Index least = std::ssize(sets.front()), most = least;
  for (const auto& set : sets) {
    least = std::min(least, std::ssize(set));
    most = std::max(most, std::ssize(set));
  }
  const std::string many = thing.ends_with('y') ? thing.substr(0, thing.size() - 1) + "ies" : thing + "s";
  if (least == most) return cat(least, " ", least == 1 ? thing : many);
  return cat(least, " to ", most, " ", many);
}

}  // namespace

std::vector<Json> combiner_decisions(const DecisionInput& in) {
  const auto& attention = dynamic_cast<const nn::CombinerAttention&>(*in.layer.attention);
  const nn::CombinerWeights weights = attention.weights(in.layer.in);
  const Index positions = in.layer.in.values.dim(1);
  const nn::CombinerSight sight = attention.sight(positions, in.layer.in.mask);
  const Side spans = {
      .what = "summary", .names = summary_names(sight, in.names), .cut = std::ssize(sight.tokens) > 256};
  const bool average = in.config.combiner.pattern == nn::CombinerPattern::average;
  const std::string about =
      cat("A query sees ", counts_text(sight.direct, "token"), " directly and others through ",
          counts_text(sight.summaries, "summary"),
          average ? ": the mean of two softmaxes, one with vertical's summaries and one with horizontal's"
                  : ", in one softmax",
          "; a summary is a mean of its tokens' values, weighed by the softmax of its own query.");
  const auto of = [](const Tensor& all, Index head) { return all.to(kCpu).select(0, 0).select(0, head); };
  std::vector<Json> sections;
  for (Index h = 0; h < attention.heads(); ++h) {
    const Tensor direct = of(weights.direct, h), summaries = of(weights.summaries, h);
    const Index near = in.pictures.add(
        {"direct", "Direct weights", "On tokens that a query sees itself.", "shares", direct, kQueries, kKeys});
    const Index far = in.pictures.add(
        {"summaries", "Weights of summaries", "On each summary as a whole.", "shares", summaries, kQueries, spans});
    Side down = spans;
    const Index made = in.pictures.add({"local", "What summaries are made of", "The weights within each summary.",
                                        "local", of(weights.local, h), down, kKeys});
    sections.push_back(
        section("What the mechanism decided", about,
                {charts({{.title = "Weight on tokens and on summaries",
                          .about = "How much of its attention each query spends on which; together 1.",
                          .x = "query",
                          .y = "share",
                          .lines = {line("direct", row_totals(direct)), line("summaries", row_totals(summaries))}}}),
                 picture_groups({{near}, {far}, {made}},
                                "Mixing matrix = direct weights + weights of summaries × what they are made of.")}));
  }
  return sections;
}

}  // namespace subquad::inspect
