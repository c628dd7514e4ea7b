// What predict_lra does: inputs as people have them, and a model's answers.
#pragma once

#include <istream>

#include "subquad/examples/lra/learner.h"
#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/run_start.h"
#include "subquad/examples/lra/tasks/raw_input.h"

namespace subquad::lra {

// Arguments first, then files; "-" among either is all of `standard_input`, once.
std::vector<RawInput> read_raw_inputs(const std::vector<std::string>& arguments, const std::vector<std::string>& files,
                                      std::istream& standard_input);

// What a model can be asked at once: one sequence, or a pair of them.
struct Question {
  std::vector<std::string> names;
  std::vector<EncodedInput> parts;
};

// Taken together in the order they come. OptionError when pairs do not come out even; FormatError of the encoder, also
// for a sequence of more than `longest` tokens.
std::vector<Question> questions(const std::vector<RawInput>& inputs, const TaskSource& source, Index parts,
                                Index longest);

struct Answer {
  std::string name;
  double probability = 0;
};

// All classes, the likeliest first, the first of equals before the others. A question is asked by itself, so that no
// answer depends on other questions. Error when the model's output is not finite.
std::vector<Answer> answers(Learner& learner, const RunStart& start, const Question& question,
                            const BatchOptions& options);

// At most `top` of them.
void print_answers(const Question& question, const std::vector<Answer>& found, std::size_t top, std::ostream& out);
Record answers_record(const Question& question, const std::vector<Answer>& found, std::size_t top);

}  // namespace subquad::lra
