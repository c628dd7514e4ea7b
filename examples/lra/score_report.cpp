#include "subquad/examples/lra/score_report.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

namespace subquad::lra {

namespace {

constexpr std::size_t kMostColumns = 25;  // classes of a printed confusion table

bool begins_character(char byte) {  // of UTF-8
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins_character));
}

// At most `width` characters.
std::string shortened(std::string_view text, std::size_t width) {
  std::size_t characters = 0, end = 0;
  while (end < text.size() && (characters += begins_character(text[end]) ? 1 : 0) <= width) ++end;
  return std::string(text.substr(0, end));
}

std::string left(std::string_view text, std::size_t width) {
  return std::string(text) + std::string(width - std::min(width, width_of(text)), ' ');
}

std::string right(std::string_view text, std::size_t width) {
  return std::string(width - std::min(width, width_of(text)), ' ') + std::string(text);
}

std::string fixed_text(double number) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(4) << number;
  return out.str();
}

using Counts = std::vector<std::vector<Index>>;

struct ClassScore {
  std::string name;
  Index samples = 0;
  Index predicted = 0;  // how often, whether right or wrong
  Index correct = 0;

  double accuracy() const { return samples > 0 ? static_cast<double>(correct) / static_cast<double>(samples) : 0; }
};

std::vector<ClassScore> class_scores(const Counts& counts, const std::vector<std::string>& names) {
  std::vector<ClassScore> scores;
  for (std::size_t c = 0; c < names.size(); ++c) {
    ClassScore score = {.name = names[c], .correct = counts[c][c]};
    for (const Index count : counts[c]) score.samples += count;
    for (const std::vector<Index>& row : counts) score.predicted += row[c];
    scores.push_back(score);
  }
  return scores;
}

std::size_t longest_name(const std::vector<std::string>& names) {
  std::size_t longest = 0;
  for (const std::string& name : names) longest = std::max(longest, width_of(name));
  return longest;
}

void print_accuracy(const Score& score, const Task& task, const Sequences& set, std::ostream& out) {
  constexpr std::size_t kName = 22;
  const Tally& tally = score.found.tally;
  out << "  " << left("accuracy", kName) << fixed_text(tally.accuracy()) << "   " << tally.correct << " of "
      << tally.samples << '\n'
      << "  " << left("loss", kName) << fixed_text(tally.mean_loss()) << '\n';
  for (const RuleAccuracy& rule : baselines_on(task, set))
    out << "  " << left(rule.name, kName) << fixed_text(rule.accuracy) << '\n';
}

void print_classes(const std::vector<ClassScore>& scores, std::size_t name_width, std::ostream& out) {
  out << "  " << left("class", name_width) << right("samples", 9) << right("right", 9) << right("accuracy", 10)
      << right("predicted", 11) << '\n';
  for (const ClassScore& s : scores)
    out << "  " << left(s.name, name_width) << right(cat(s.samples), 9) << right(cat(s.correct), 9)
        << right(s.samples > 0 ? fixed_text(s.accuracy()) : "-", 10) << right(cat(s.predicted), 11) << '\n';
}

void print_confusion(const Counts& counts, const std::vector<std::string>& names, std::size_t name_width,
                     Index unanswered, std::ostream& out) {
  out << "confusion: a row a label, a column a predicted class\n";
  constexpr std::size_t kHead = 8;
  std::size_t column = std::min(longest_name(names), kHead);
  for (const std::vector<Index>& row : counts)
    for (const Index count : row) column = std::max(column, cat(count).size());
  column += 2;
  out << "  " << left("", name_width);
  for (const std::string& name : names) out << right(shortened(name, kHead), column);
  out << (unanswered > 0 ? "  none" : "") << '\n';
  for (std::size_t c = 0; c < names.size(); ++c) {
    out << "  " << left(names[c], name_width);
    for (std::size_t p = 0; p < names.size(); ++p) out << right(cat(counts[c][p]), column);
    if (unanswered > 0) out << right(cat(counts[c].back()), 6);
    out << '\n';
  }
}

}  // namespace

void print_score(const Score& score, const Task& task, const Sequences& set, std::ostream& out) {
  out << score.run << ": " << task.name << ", " << score.model << '\n'
      << "checkpoint " << score.checkpoint << ", step " << score.step << "; " << set.size() << " samples of the "
      << score.split << " set\n";
  for (const std::string& note : score.notes) out << "note: " << note << '\n';
  out << '\n';
  print_accuracy(score, task, set, out);
  const Counts counts = confusion_counts(set, score.found.predicted, task.shape.classes);
  Index unanswered = 0;
  for (const std::vector<Index>& row : counts) unanswered += row.back();
  if (unanswered > 0)
    out << "  " << unanswered << " samples got no answer, which is not right: their output is no number\n";
  const std::size_t name_width = std::max<std::size_t>(longest_name(task.class_names), 5);
  out << '\n';
  print_classes(class_scores(counts, task.class_names), name_width, out);
  out << '\n';
  if (task.class_names.size() <= kMostColumns)
    print_confusion(counts, task.class_names, name_width, unanswered, out);
  else
    out << "which of the " << task.class_names.size() << " classes was taken for which: --json FILE writes it\n";
  out << std::flush;
}

Record score_record(const Score& score, const Task& task, const Sequences& set) {
  const Tally& tally = score.found.tally;
  Record record = {{"run", score.run},          {"task", task.name},        {"checkpoint", score.checkpoint},
                   {"step", score.step},        {"split", score.split},     {"data_hash", task.hash()},
                   {"samples", tally.samples},  {"correct", tally.correct}, {"accuracy", tally.accuracy()},
                   {"loss", tally.mean_loss()}, {"notes", score.notes}};
  for (const RuleAccuracy& rule : baselines_on(task, set)) record["baselines"][rule.name] = rule.accuracy;
  const Counts counts = confusion_counts(set, score.found.predicted, task.shape.classes);
  record["classes"] = Record::array();
  for (const ClassScore& s : class_scores(counts, task.class_names))
    record["classes"].push_back({{"name", s.name},
                                 {"samples", s.samples},
                                 {"correct", s.correct},
                                 {"accuracy", s.samples > 0 ? Record(s.accuracy()) : Record()},
                                 {"predicted", s.predicted}});
  record["confusion"] = counts;  // the last column: no answer
  return record;
}

std::string prediction_lines(const Evaluation& found, const Task& task, const Sequences& set) {
  std::ostringstream out;
  out << "sample\tlabel\tpredicted\tprobability\n" << std::setprecision(9);
  for (Index i = 0; i < set.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::int64_t chosen = found.predicted[at];
    out << i << '\t' << task.class_names[static_cast<std::size_t>(set.label(i))] << '\t'
        << (chosen < 0 ? "" : task.class_names[static_cast<std::size_t>(chosen)]) << '\t' << found.probability[at]
        << '\n';
  }
  return out.str();
}

}  // namespace subquad::lra
