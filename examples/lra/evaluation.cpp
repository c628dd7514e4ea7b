#include "subquad/examples/lra/evaluation.h"

#include <algorithm>
#include <cmath>

#include "subquad/core/check.h"

namespace subquad::lra {

Tally& Tally::operator+=(const Tally& more) {
  loss += more.loss;
  correct += more.correct;
  samples += more.samples;
  return *this;
}

std::vector<std::int64_t> predictions(const Tensor& logits) {
  check_rank("predictions", "logits", logits, 2);
  const Index classes = logits.dim(1);
  const std::span<const float> values = logits.span<float>();
  std::vector<std::int64_t> classes_found;
  for (Index b = 0; b < logits.dim(0); ++b) {
    const auto row = values.subspan(static_cast<std::size_t>(b * classes), static_cast<std::size_t>(classes));
    const bool broken = std::any_of(row.begin(), row.end(), [](float logit) { return std::isnan(logit); });
    classes_found.push_back(broken ? -1 : std::max_element(row.begin(), row.end()) - row.begin());
  }
  return classes_found;
}

std::vector<std::vector<double>> probabilities(const Tensor& logits) {
  check_rank("probabilities", "logits", logits, 2);
  const auto classes = static_cast<std::size_t>(logits.dim(1));
  const std::span<const float> values = logits.span<float>();
  std::vector<std::vector<double>> rows;
  for (std::size_t begin = 0; begin < values.size(); begin += classes) {
    const std::span<const float> row = values.subspan(begin, classes);
    std::vector<double>& shares = rows.emplace_back(classes);
    if (!std::all_of(row.begin(), row.end(), [](float logit) { return std::isfinite(logit); })) continue;
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (std::size_t c = 0; c < classes; ++c) sum += shares[c] = std::exp(row[c] - largest);
    for (double& share : shares) share /= sum;
  }
  return rows;
}

Tally tally(double mean_loss, const std::vector<std::int64_t>& predicted, const Batch& batch) {
  const Tensor labels = batch.labels.to(kCpu);
  Tally result;
  result.samples = batch.size();
  result.loss = mean_loss * static_cast<double>(result.samples);
  for (std::size_t b = 0; b < predicted.size(); ++b)
    if (predicted[b] == labels.data<std::int64_t>()[b]) ++result.correct;
  return result;
}

std::vector<std::vector<Index>> confusion_counts(const Sequences& set, const std::vector<std::int64_t>& predicted,
                                                 Index classes) {
  const auto size = static_cast<std::size_t>(classes);
  std::vector<std::vector<Index>> counts(size, std::vector<Index>(size + 1));
  for (Index i = 0; i < set.size(); ++i) {
    const std::int64_t found = predicted[static_cast<std::size_t>(i)];
    ++counts.at(static_cast<std::size_t>(set.label(i))).at(found < 0 ? size : static_cast<std::size_t>(found));
  }
  return counts;
}

std::map<Token, Tally> tally_by_first_token(const Sequences& set, const std::vector<std::int64_t>& predicted) {
  std::map<Token, Tally> groups;
  for (Index i = 0; i < set.size(); ++i) {
    const auto tokens = set.tokens(i);
    Tally& group = groups[tokens.empty() ? Token{0} : tokens.front()];
    ++group.samples;
    if (predicted[static_cast<std::size_t>(i)] == set.label(i)) ++group.correct;
  }
  return groups;
}

}  // namespace subquad::lra
