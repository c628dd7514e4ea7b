#include "subquad/examples/lra/predict.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <utility>

#include "subquad/core/file.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/tasks/lines.h"

namespace subquad::lra {

namespace {

std::string whole_file(const std::string& path) {
  const InputFile file(path);
  std::string bytes(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

}  // namespace

std::vector<RawInput> read_raw_inputs(const std::vector<std::string>& arguments, const std::vector<std::string>& files,
                                      std::istream& standard_input) {
  std::vector<RawInput> inputs;
  bool used = false;
  const auto take_standard_input = [&] {
    if (std::exchange(used, true)) throw OptionError("-, the standard input, can be given once only");
    std::ostringstream bytes;
    bytes << standard_input.rdbuf();
    inputs.push_back({"standard input", bytes.str()});
  };
  for (const std::string& argument : arguments) {
    if (argument == "-")
      take_standard_input();
    else
      inputs.push_back({lra::quoted(argument), argument});
  }
  for (const std::string& path : files) {
    if (path == "-")
      take_standard_input();
    else
      inputs.push_back({path, whole_file(path)});
  }
  return inputs;
}

std::vector<Question> questions(const std::vector<RawInput>& inputs, const TaskSource& source, Index parts,
                                Index longest) {
  if (std::ssize(inputs) % parts != 0)
    throw OptionError(
        cat("--task ", source.task, " is about pairs: expected an even number of inputs, not ", inputs.size()));
  std::vector<Question> asked;
  for (const RawInput& input : inputs) {
    EncodedInput encoded = input_kind(source.task).encode(source, input);
    if (std::ssize(encoded.tokens) > longest)
      throw FormatError(cat(input.name, ": ", encoded.tokens.size(), " tokens, but the model takes at most ", longest,
                            ", its --max-length"));
    if (asked.empty() || std::ssize(asked.back().parts) == parts) asked.emplace_back();
    asked.back().names.push_back(input.name);
    asked.back().parts.push_back(std::move(encoded));
  }
  return asked;
}

std::vector<Answer> answers(Learner& learner, const RunStart& start, const Question& question,
                            const BatchOptions& options) {
  const std::vector<EncodedInput>& parts = question.parts;
  Sequences set(parts[0].first_id, std::ssize(parts));
  constexpr std::int64_t kNoLabel = 0;  // one is asked for, and its loss not looked at
  if (parts.size() == 1)
    set.append_bytes({parts[0].tokens}, kNoLabel);
  else
    set.append_bytes({parts[0].tokens, parts[1].tokens}, kNoLabel);
  const Tensor logits = learner.predict(make_batch(set, {0}, options)).logits;
  const std::span<const float> row = logits.span<float>();
  if (!std::all_of(row.begin(), row.end(), [](float logit) { return std::isfinite(logit); }))
    throw Error(cat(question.names[0], ": the model's output is not finite, so that it has no answer"));
  const std::vector<double> shares = probabilities(logits)[0];
  std::vector<Answer> found;
  for (std::size_t c = 0; c < shares.size(); ++c) found.push_back({start.class_names[c], shares[c]});
  std::stable_sort(found.begin(), found.end(),
                   [](const Answer& a, const Answer& b) { return a.probability > b.probability; });
  return found;
}

void print_answers(const Question& question, const std::vector<Answer>& found, std::size_t top, std::ostream& out) {
  for (std::size_t i = 0; i < question.names.size(); ++i) out << (i > 0 ? " and " : "") << question.names[i];
  out << '\n' << std::fixed << std::setprecision(4);
  std::size_t width = 0;
  top = std::min(top, found.size());
  for (std::size_t i = 0; i < top; ++i) width = std::max(width, found[i].name.size());
  for (std::size_t i = 0; i < top; ++i)
    out << "  " << std::left << std::setw(static_cast<int>(width)) << found[i].name << "   " << found[i].probability
        << '\n';
  for (std::size_t i = 0; i < question.parts.size(); ++i) {
    const EncodedInput& part = question.parts[i];
    if (part.value)
      out << "  its value is " << *part.value << (*part.value == found[0].name ? ": right" : ": wrong") << '\n';
    for (const std::string& note : part.notes)
      out << "  note: " << (question.parts.size() > 1 ? question.names[i] + ": " : "") << note << '\n';
  }
}

Record answers_record(const Question& question, const std::vector<Answer>& found, std::size_t top) {
  Record record = {{"input", question.names}, {"classes", Record::array()}};
  for (std::size_t i = 0; i < std::min(top, found.size()); ++i)
    record["classes"].push_back({{"name", found[i].name}, {"probability", found[i].probability}});
  Record notes = Record::array(), tokens = Record::array();
  for (const EncodedInput& part : question.parts) {
    tokens.push_back(part.tokens.size());
    if (part.value) record["value"] = *part.value;
    for (const std::string& note : part.notes) notes.push_back(note);
  }
  record["tokens"] = tokens;
  record["notes"] = notes;
  return record;
}

}  // namespace subquad::lra
