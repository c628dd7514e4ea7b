// What a test leaves in metrics.jsonl beside its accuracy: which classes were taken for which, and a few answers to
// look at. The page of a run is made from them.
//
//   {"kind":"confusion","checkpoint":"best","step":500,"counts":[[8,2],[1,9]]}
//     a row a label, a column a predicted class; "unanswered":[0,1] beside it where a row of logits had a NaN
//   {"kind":"samples","checkpoint":"best","step":500,"right":[...],"wrong":[...]}
//     each {"sample":17,"label":0,"predicted":1,"probability":0.9,"label_probability":0.1}
//
// right: the first kShownAnswers right answers of the set when classes take turns, so that no class fills the list;
// wrong: the mistakes that the model was surest of, the smaller sample number first among equals.
#pragma once

#include "subquad/examples/lra/evaluation.h"
#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

inline constexpr std::size_t kShownAnswers = 6;
inline constexpr Index kMostConfusionClasses = 50;  // with more there is no "confusion"

// Of an evaluation of the test set.
std::vector<Record> answer_records(const Task& task, const Evaluation& found, const std::string& checkpoint,
                                   Index step);

}  // namespace subquad::lra
