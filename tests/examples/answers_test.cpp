// What a test leaves in metrics.jsonl beside its accuracy.
#include "subquad/examples/lra/report/answers.h"

#include <doctest/doctest.h>

using namespace subquad;
using namespace subquad::lra;

TEST_SUITE_BEGIN("cpu");

namespace {

// Labels 0, 0, 1, 1, 0, 1, ... of a task of two classes whose samples are their own numbers.
Task two_classes(const std::vector<std::int64_t>& labels) {
  Task task;
  task.shape = {.vocabulary = 256, .classes = 2};
  task.class_names = {"no", "yes"};
  for (std::size_t i = 0; i < labels.size(); ++i)
    task.test.append(std::vector<Token>{static_cast<Token>(i)}, labels[i]);
  return task;
}

Evaluation nothing_found(const Task& task) {
  const auto samples = static_cast<std::size_t>(task.test.size());
  return {{}, std::vector<std::int64_t>(samples), std::vector<double>(samples), std::vector<double>(samples)};
}

std::vector<Index> numbers(const Record& list) {
  std::vector<Index> found;
  for (const Record& answer : list) found.push_back(answer.at("sample"));
  return found;
}

}  // namespace

TEST_CASE("answers: counts, right answers by turns, the surest mistakes first, and samples without an answer") {
  const Task task = two_classes({0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1});
  Evaluation found = nothing_found(task);
  for (const std::size_t i : {0, 1, 2, 3, 4, 5, 6}) found.predicted[i] = 0;
  found.predicted[2] = 1;
  found.probability[2] = 0.75;
  for (const std::size_t i : {7, 8}) found.predicted[i] = 1;
  for (const std::size_t i : {9, 10}) found.predicted[i] = 0;
  found.probability[9] = 0.75;
  found.probability[10] = 0.9;
  found.label_probability[10] = 0.1;
  found.predicted[11] = -1;

  const std::vector<Record> records = answer_records(task, found, "best", 30);
  REQUIRE_EQ(records.size(), 2u);
  CHECK_EQ(records[0].dump(),
           R"({"kind":"confusion","checkpoint":"best","step":30,"counts":[[6,1],[2,2]],"unanswered":[0,1]})");
  CHECK_EQ(records[1].at("kind"), "samples");
  CHECK_EQ(numbers(records[1].at("right")), std::vector<Index>{0, 7, 1, 8, 3, 4});
  CHECK_EQ(numbers(records[1].at("wrong")), std::vector<Index>{10, 2, 9});
  CHECK_EQ(records[1].at("wrong")[0].dump(),
           R"({"sample":10,"label":1,"predicted":0,"probability":0.9,"label_probability":0.1})");
}

TEST_CASE("answers: with very many classes there is no table of them") {
  Task task = two_classes({0, 1});
  task.shape.classes = kMostConfusionClasses + 1;
  const std::vector<Record> records = answer_records(task, nothing_found(task), "last", 1);
  REQUIRE_EQ(records.size(), 1u);
  CHECK_EQ(records[0].at("kind"), "samples");
}

TEST_SUITE_END();
