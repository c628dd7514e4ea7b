#include "subquad/examples/lra/check_data.h"

#include <algorithm>
#include <filesystem>
#include <iomanip>

#include "subquad/core/error.h"
#include "subquad/examples/lra/baselines.h"
#include "subquad/examples/lra/tasks/make_command.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

constexpr int kNameWidth = 22;
constexpr int kNumberWidth = 12;

std::ostream& name_column(std::ostream& out) {
  return out << "  " << std::left << std::setw(kNameWidth);
}

std::ostream& number_column(std::ostream& out) {
  return out << std::right << std::setw(kNumberWidth);
}

void print_files(const TaskKind& kind, const TaskSource& source, std::ostream& out) {
  const std::string& folder = source.folder;
  out << "files in " << folder << '\n';
  for (const ExpectedFile& file : kind.expected(folder)) {
    const fs::path path = fs::path(folder) / file.path;
    out << name_column << file.path << ' ';
    if (!file.present)
      out << "missing\n";
    else if (fs::is_regular_file(path))
      out << fs::file_size(path) << " bytes\n";
    else
      out << "there\n";
  }
  out << "how to get them: " << (kind.generated ? make_command(kind, source, "NEW") : kind.origin) << "\n\n";
}

std::vector<Index> sorted_lengths(const Sequences& set) {
  std::vector<Index> lengths;
  for (Index i = 0; i < set.size(); ++i)
    for (Index part = 0; part < set.parts(); ++part) lengths.push_back(set.length(i, part));
  std::sort(lengths.begin(), lengths.end());
  return lengths;
}

struct NamedSet {
  const char* name;
  const Sequences* set;
};

// Quantiles are lengths that occur: the first of the sorted ones that has the share below or at it.
void print_lengths(const std::vector<NamedSet>& sets, std::ostream& out) {
  out << name_column << "set" << number_column << "samples" << number_column << "mean length";
  for (const char* head : {"shortest", "5 %", "50 %", "95 %", "longest"}) out << number_column << head;
  out << '\n';
  for (const auto& [name, set] : sets) {
    const std::vector<Index> lengths = sorted_lengths(*set);
    const double mean = static_cast<double>(set->token_count()) / static_cast<double>(lengths.size());
    out << name_column << name << number_column << set->size() << number_column << std::fixed << std::setprecision(1)
        << mean;
    for (const std::size_t percent : {0, 5, 50, 95, 100}) {
      const std::size_t rank = (lengths.size() * percent + 99) / 100;  // counted from 1
      out << number_column << lengths[std::max<std::size_t>(rank, 1) - 1];
    }
    out << '\n';
  }
  out << '\n';
}

void print_classes(const Task& task, const std::vector<NamedSet>& sets, std::ostream& out) {
  out << name_column << "class";
  std::vector<std::vector<Index>> counts;
  for (const auto& [name, set] : sets) {
    out << number_column << name;
    counts.push_back(label_counts(*set, task.shape.classes));
  }
  out << '\n';
  for (std::size_t label = 0; label < static_cast<std::size_t>(task.shape.classes); ++label) {
    out << name_column << task.class_names[label];
    for (const std::vector<Index>& of_set : counts) out << number_column << of_set[label];
    out << '\n';
  }
  out << '\n';
}

void print_too_long(const std::vector<NamedSet>& sets, Index max_length, std::ostream& out) {
  std::size_t all = 0, longer = 0;
  Index longest = 0;
  for (const auto& [name, set] : sets) {
    const std::vector<Index> lengths = sorted_lengths(*set);
    all += lengths.size();
    longer += static_cast<std::size_t>(lengths.end() - std::upper_bound(lengths.begin(), lengths.end(), max_length));
    longest = std::max(longest, lengths.back());
  }
  if (longer > 0)
    out << "note: " << longer << " of " << all << " sequences are longer than --max-length " << max_length << ", up to "
        << longest << " tokens: training would refuse them\n";
}

}  // namespace

void check_data(const TaskSource& source, Index max_length, std::ostream& out) {
  const TaskKind& kind = task_kind(source.task);
  out << kind.name << ": " << kind.about << "; "
      << (kind.in_lra ? cat("at ", kind.nominal, " tokens in Long Range Arena") : "not a task of Long Range Arena")
      << '\n';
  if (fs::is_directory(source.folder)) print_files(kind, source, out);
  out << std::flush;

  const Task task = load_task(source);
  const std::vector<NamedSet> sets = {
      {"training", &task.train}, {"validation", &task.validation}, {"test", &task.test}};
  print_lengths(sets, out);
  print_classes(task, sets, out);
  for (const std::string& note : task.notes) out << "note: " << note << '\n';
  print_too_long(sets, max_length, out);
  out << task.name << " is complete: vocabulary " << task.shape.vocabulary << ", " << task.shape.classes
      << " classes, hash " << task.hash() << std::endl;
}

}  // namespace subquad::lra
