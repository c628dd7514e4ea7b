#include "subquad/examples/lra/report/answers.h"

#include <algorithm>

namespace subquad::lra {

namespace {

SampleNumbers first_right(const Sequences& set, const Evaluation& found, Index classes) {
  std::vector<SampleNumbers> by_class(static_cast<std::size_t>(classes));
  for (Index i = 0; i < set.size(); ++i) {
    SampleNumbers& of_class = by_class[static_cast<std::size_t>(set.label(i))];
    if (found.predicted[static_cast<std::size_t>(i)] == set.label(i) && of_class.size() < kShownAnswers)
      of_class.push_back(i);
  }
  SampleNumbers chosen;
  for (std::size_t turn = 0; turn < kShownAnswers; ++turn)
    for (const SampleNumbers& of_class : by_class)
      if (turn < of_class.size() && chosen.size() < kShownAnswers) chosen.push_back(of_class[turn]);
  return chosen;
}

SampleNumbers surest_mistakes(const Sequences& set, const Evaluation& found) {
  SampleNumbers wrong;
  for (Index i = 0; i < set.size(); ++i) {
    const std::int64_t predicted = found.predicted[static_cast<std::size_t>(i)];
    if (predicted >= 0 && predicted != set.label(i)) wrong.push_back(i);
  }
  const auto surer = [&](Index a, Index b) {
    const double of_a = found.probability[static_cast<std::size_t>(a)];
    const double of_b = found.probability[static_cast<std::size_t>(b)];
    return of_a != of_b ? of_a > of_b : a < b;
  };
  const auto count = static_cast<std::ptrdiff_t>(std::min(wrong.size(), kShownAnswers));
  std::partial_sort(wrong.begin(), wrong.begin() + count, wrong.end(), surer);
  wrong.resize(static_cast<std::size_t>(count));
  return wrong;
}

Record answers(const Sequences& set, const Evaluation& found, const SampleNumbers& samples) {
  Record list = Record::array();
  for (const Index sample : samples) {
    const auto i = static_cast<std::size_t>(sample);
    list.push_back({{"sample", sample},
                    {"label", set.label(sample)},
                    {"predicted", found.predicted[i]},
                    {"probability", found.probability[i]},
                    {"label_probability", found.label_probability[i]}});
  }
  return list;
}

Record confusion(const Task& task, const Evaluation& found) {
  std::vector<std::vector<Index>> counts = confusion_counts(task.test, found.predicted, task.shape.classes);
  std::vector<Index> unanswered;
  for (std::vector<Index>& row : counts) {
    unanswered.push_back(row.back());
    row.pop_back();
  }
  Record record = {{"counts", counts}};
  if (std::any_of(unanswered.begin(), unanswered.end(), [](Index count) { return count > 0; }))
    record["unanswered"] = unanswered;
  return record;
}

}  // namespace

std::vector<Record> answer_records(const Task& task, const Evaluation& found, const std::string& checkpoint,
                                   Index step) {
  std::vector<Record> records;
  const auto add = [&](const char* kind, const Record& fields) {
    Record record = {{"kind", kind}, {"checkpoint", checkpoint}, {"step", step}};
    record.update(fields);
    records.push_back(record);
  };
  if (task.shape.classes <= kMostConfusionClasses) add("confusion", confusion(task, found));
  add("samples", {{"right", answers(task.test, found, first_right(task.test, found, task.shape.classes))},
                  {"wrong", answers(task.test, found, surest_mistakes(task.test, found))}});
  return records;
}

}  // namespace subquad::lra
