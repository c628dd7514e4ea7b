#include "subquad/examples/lra/baselines.h"

#include <algorithm>
#include <map>

namespace subquad::lra {

namespace {

using Counts = std::map<std::int64_t, Index>;  // label -> how often

Token first_token(const Sequences& set, Index i) {
  return set.length(i) > 0 ? set.tokens(i).front() : Token{0};
}

std::int64_t most_frequent(const Counts& counts) {
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  return std::max_element(counts.begin(), counts.end(), fewer)->first;
}

}  // namespace

std::vector<Index> label_counts(const Sequences& set, Index classes) {
  std::vector<Index> counts(static_cast<std::size_t>(classes));
  for (Index i = 0; i < set.size(); ++i) ++counts.at(static_cast<std::size_t>(set.label(i)));
  return counts;
}

double majority_accuracy(const Sequences& train, const Sequences& other) {
  if (train.size() == 0 || other.size() == 0) return 0;
  Counts counts;
  for (Index i = 0; i < train.size(); ++i) ++counts[train.label(i)];
  const std::int64_t guess = most_frequent(counts);
  Index right = 0;
  for (Index i = 0; i < other.size(); ++i) right += other.label(i) == guess;
  return static_cast<double>(right) / static_cast<double>(other.size());
}

double first_token_accuracy(const Sequences& train, const Sequences& other) {
  if (train.size() == 0 || other.size() == 0) return 0;
  Counts all;
  std::map<Token, Counts> by_token;
  for (Index i = 0; i < train.size(); ++i) {
    ++all[train.label(i)];
    ++by_token[first_token(train, i)][train.label(i)];
  }
  std::map<Token, std::int64_t> guess;
  for (const auto& [token, counts] : by_token) guess[token] = most_frequent(counts);
  Index right = 0;
  for (Index i = 0; i < other.size(); ++i) {
    const auto known = guess.find(first_token(other, i));
    right += other.label(i) == (known == guess.end() ? most_frequent(all) : known->second);
  }
  return static_cast<double>(right) / static_cast<double>(other.size());
}

std::vector<RuleAccuracy> baselines_on(const Task& task, const Sequences& set) {
  std::vector<RuleAccuracy> found;
  if (!task.first_token.empty()) found.push_back({task.first_token + " rule", first_token_accuracy(task.train, set)});
  found.push_back({"majority class", majority_accuracy(task.train, set)});
  found.push_back({"chance", 1.0 / static_cast<double>(task.shape.classes)});
  return found;
}

std::vector<Baseline> baselines(const Task& task) {
  const std::vector<RuleAccuracy> validation = baselines_on(task, task.validation),
                                  test = baselines_on(task, task.test);
  std::vector<Baseline> found;
  for (std::size_t i = 0; i < test.size(); ++i)
    found.push_back({test[i].name, validation[i].accuracy, test[i].accuracy});
  return found;
}

}  // namespace subquad::lra
