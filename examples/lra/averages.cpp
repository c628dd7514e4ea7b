#include "subquad/examples/lra/averages.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <iterator>
#include <map>
#include <numeric>
#include <ostream>
#include <set>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/lra_task.h"

namespace subquad::lra {

namespace {

constexpr std::array<const char*, 5> kFiveTasks = {"listops", "text", "retrieval", "image", "pathfinder"};

bool alike(const RunSummary& a, const RunSummary& b) {
  return a.task == b.task && a.data_hash == b.data_hash && a.attention == b.attention && a.model == b.model &&
         a.settings == b.settings;
}

std::string label(const RunSummary& run) {
  return cat(run.attention, ' ', run.model);
}

// One a seed: the same seed gives the same run.
Spread over_seeds(const std::vector<RunSummary>& runs, std::optional<double> RunSummary::*accuracy) {
  std::map<std::uint64_t, double> by_seed;
  for (const RunSummary& run : runs)
    if (run.*accuracy) by_seed.emplace(run.seed, *(run.*accuracy));
  std::vector<double> values;
  for (const auto& [seed, value] : by_seed) values.push_back(value);
  return spread(values);
}

// Test accuracy of one model on one task; else why there is none.
struct Cell {
  std::optional<double> accuracy = {};
  std::string missing = {};
};

Cell cell(const std::vector<RunSummary>& runs, const std::string& model, const std::string& task) {
  std::vector<RunSummary> chosen;
  for (const RunSummary& run : runs)
    if (label(run) == model && lra_task(run.task) == task) chosen.push_back(run);
  if (chosen.empty()) return {.missing = task};
  if (by_settings(chosen).size() > 1) return {.missing = task + " (runs of several settings)"};
  const Spread found = over_seeds(chosen, &RunSummary::test);
  if (found.count == 0) return {.missing = task + " (not tested yet)"};
  return {.accuracy = found.mean};
}

void print_average(const char* name, const std::vector<double>& cells, const std::vector<std::string>& missing,
                   std::ostream& out) {
  out << "    " << padded(name, 62);
  if (missing.empty()) {
    out << std::fixed << std::setprecision(4) << spread(cells).mean << '\n';
    return;
  }
  out << "- : missing";
  for (std::size_t i = 0; i < missing.size(); ++i) out << (i == 0 ? " " : ", ") << missing[i];
  out << '\n';
}

}  // namespace

std::vector<std::vector<RunSummary>> by_settings(const std::vector<RunSummary>& runs) {
  std::vector<std::vector<RunSummary>> groups;
  for (const RunSummary& run : runs) {
    const auto group =
        std::find_if(groups.begin(), groups.end(), [&](const auto& others) { return alike(others.front(), run); });
    if (group == groups.end())
      groups.push_back({run});
    else
      group->push_back(run);
  }
  return groups;
}

void print_seed_means(const std::vector<RunSummary>& runs, std::ostream& out) {
  bool head = false;
  for (const std::vector<RunSummary>& group : by_settings(runs)) {
    std::vector<RunSummary> finished;
    std::copy_if(group.begin(), group.end(), std::back_inserter(finished),
                 [](const RunSummary& r) { return r.complete(); });
    const Spread validation = over_seeds(finished, &RunSummary::validation),
                 test = over_seeds(finished, &RunSummary::test);
    if (validation.count < 2) continue;
    const auto row = [&](const std::string& name, const std::string& seeds, const std::string& a,
                         const std::string& b) {
      out << "  " << padded(name, 29) << padded(seeds, 12, true) << padded(a, 18, true) << padded(b, 18, true) << '\n';
    };
    if (!head) row("mean ± sd over seeds", "seeds", "validation", "test");
    head = true;
    row(label(group.front()), cat(validation.count), spread_text(validation), spread_text(test));
    if (const std::size_t more = group.size() - finished.size(); more > 0)
      out << "  runs of it that are not finished and not in the mean: " << more << '\n';
  }
}

void print_task_averages(const std::vector<RunSummary>& runs, std::ostream& out) {
  std::set<std::string> models;
  for (const RunSummary& run : runs) models.insert(label(run));
  out << "  averages of test accuracy over tasks\n";
  for (const std::string& model : models) {
    std::vector<double> cells;
    std::vector<std::string> missing;
    for (const char* task : kFiveTasks) {
      const Cell found = cell(runs, model, task);
      if (found.accuracy)
        cells.push_back(*found.accuracy);
      else
        missing.push_back(found.missing);
    }
    out << "  " << model << '\n';
    print_average("mean of the five tasks without Path-X (LRA)", cells, missing, out);
    const Cell path_x = cell(runs, model, "path-x");
    const bool counted = !path_x.accuracy && path_x.missing == "path-x";
    if (path_x.accuracy || counted)
      cells.push_back(path_x.accuracy.value_or(0.5));
    else
      missing.push_back(path_x.missing);
    print_average(counted ? "mean of six, the missing Path-X counted as 50 % (S4)"
                          : "mean of six, a missing Path-X counted as 50 % (S4): it is there",
                  cells, missing, out);
  }
}

}  // namespace subquad::lra
