#include "subquad/examples/lra/seed_runs.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <iostream>

#include "subquad/core/file.h"
#include "subquad/examples/lra/learner.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/run_folder.h"
#include "subquad/examples/lra/spread.h"

namespace subquad::lra {

namespace fs = std::filesystem;

namespace {

using Column = std::optional<double> (*)(const RunSummary&);
constexpr Column kBestValidation = [](const RunSummary& run) { return run.validation; };
constexpr Column kBestTest = [](const RunSummary& run) { return run.test ? run.test : run.last_test; };
constexpr Column kLastValidation = [](const RunSummary& run) { return run.last_validation; };
constexpr Column kLastTest = [](const RunSummary& run) { return run.last_test; };

Spread column(const std::vector<RunSummary>& runs, Column of) {
  std::vector<double> values;
  for (const RunSummary& run : runs)
    if (const std::optional<double> value = of(run)) values.push_back(*value);
  return spread(values);
}

// TOML with another value on the line of a key that it has.
std::string with_value(std::string toml, const std::string& key, const std::string& value) {
  const std::size_t line = ("\n" + toml).find("\n" + key + "=");
  if (line == std::string::npos) throw InternalError(cat("the configuration has no ", key));
  return toml.replace(line, toml.find('\n', line) - line, cat(key, "=", value));
}

// The run of one seed by itself, which goes on where its folder holds it already.
TrainOptions options_of(const TrainOptions& all, std::uint64_t seed) {
  TrainOptions one = all;
  one.seed = seed;
  one.seeds.clear();
  one.out = seed_folder(all.out, seed).string();
  for (std::string* config : {&one.config, &one.config_with_help}) {
    *config = with_value(*config, "seed", cat(seed));
    *config = with_value(*config, "seeds", "\"\"");
    *config = with_value(*config, "out", CLI::detail::convert_arg_for_ini(one.out));
  }
  const bool begun = fs::exists(fs::path(one.out) / "config.toml");
  if (!begun) fs::remove_all(one.out);  // of a program that ended before it had written there
  one.resume = begun ? one.out : "";
  return one;
}

// Whether a run is through. Error when it saw other data: a run that is not through says so when it goes on.
bool finished(const fs::path& folder, const Task& task) {
  if (!fs::exists(folder / "config.toml")) return false;
  const RunSummary run = read_begun_run(folder);
  if (!run.complete()) return false;
  if (run.data_hash != task.hash())
    throw Error(cat(folder.string(), ": that run saw other data (hash ", run.data_hash, ", now ", task.hash(),
                    "); give the folder of its data with --data"));
  return true;
}

void make_folder(const TrainOptions& options, const Task& task) {
  Learner(options, task.shape);  // refuses a wrong configuration before there is a folder
  RunFolder::make(options.out);
  AtomicFile config(fs::path(options.out) / "config.toml");
  config.write(options.config_with_help);
  config.commit();
}

Record spread_record(const std::vector<RunSummary>& runs, Column of) {
  const Spread found = column(runs, of);
  Record record = {{"mean", found.mean}, {"n", found.count}};
  if (found.deviation) record["sd"] = *found.deviation;
  return record;
}

void write_summary(const fs::path& path, const std::vector<RunSummary>& runs) {
  const RunSummary& first = runs.front();
  const auto number = [](const std::optional<double>& value) { return value ? Record(*value) : Record(); };
  Record each = Record::array();
  for (const RunSummary& run : runs)
    each.push_back(
        {{"seed", run.seed},
         {"folder", fs::path(run.folder).filename().string()},
         {"best", {{"step", run.best_step}, {"validation", number(run.validation)}, {"test", number(kBestTest(run))}}},
         {"last",
          {{"step", run.last_step}, {"validation", number(run.last_validation)}, {"test", number(run.last_test)}}}});
  const Record summary = {
      {"task", first.task},
      {"attention", first.attention},
      {"model", first.model},
      {"data_hash", first.data_hash},
      {"runs", each},
      {"best", {{"validation", spread_record(runs, kBestValidation)}, {"test", spread_record(runs, kBestTest)}}},
      {"last", {{"validation", spread_record(runs, kLastValidation)}, {"test", spread_record(runs, kLastTest)}}}};
  AtomicFile file(path);
  file.write(summary.dump(2) + "\n");
  file.commit();
}

double minutes_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::ratio<60>>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

bool seed_runs(const TrainOptions& options, const Task& task, ProgressLine& progress, const StopRequest& stop) {
  const auto begin = std::chrono::steady_clock::now();
  const auto stopped = [&](const std::string& where) {
    progress.print(cat("stopped ", where, "; go on with: train_lra --resume ", options.out));
    return false;
  };
  if (options.resume.empty()) make_folder(options, task);
  const RunLock lock(options.out);
  introduce(options, task, progress);
  std::vector<RunSummary> through;
  for (const std::uint64_t seed : options.seeds) {
    TrainOptions one = options_of(options, seed);
    if (!finished(one.out, task)) {
      const double used = minutes_since(begin);  // of one limit for all
      if (stop || (options.max_minutes > 0 && used >= options.max_minutes)) return stopped(cat("before seed ", seed));
      if (options.max_minutes > 0) one.max_minutes -= used;
      progress.print(cat("== seed ", seed, ", run ", through.size() + 1, " of ", options.seeds.size()));
      const RunEnd end = single_run(one, task, progress, stop, true);
      if (!end.complete) return stopped(cat("at step ", end.step, " of ", one.steps, " of seed ", seed, ", saved"));
    } else {
      progress.print(cat("== seed ", seed, " is through: ", one.out));
    }
    through.push_back(read_begun_run(one.out));
    write_summary(fs::path(options.out) / "seeds.json", through);
  }
  std::cout << '\n'
            << through.front().task << ", " << through.front().attention << " attention: " << options.seeds.size()
            << " runs in " << options.out << "\n\n";
  print_seed_table(through, std::cout);
  return true;
}

void print_seed_table(const std::vector<RunSummary>& runs, std::ostream& out) {
  const auto row = [&](const std::string& name, const std::array<std::string, 6>& cells) {
    constexpr std::array<std::size_t, 6> kWidths = {10, 18, 18, 10, 18, 18};
    std::string line = "  " + padded(name, 20);
    for (std::size_t i = 0; i < cells.size(); ++i) line += padded(cells[i], kWidths[i], true);
    out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
  };
  const auto text = [](const std::optional<double>& value) {
    return value ? spread_text(spread(std::span(&*value, 1))) : std::string("-");
  };
  row("accuracy", {"best step", "validation", "test", "last step", "validation", "test"});
  for (const RunSummary& run : runs)
    row(cat("seed ", run.seed), {cat(run.best_step), text(run.validation), text(kBestTest(run)), cat(run.last_step),
                                 text(run.last_validation), text(run.last_test)});
  if (runs.size() > 1)
    row(cat("mean ± sd, n = ", runs.size()),
        {"", spread_text(column(runs, kBestValidation)), spread_text(column(runs, kBestTest)), "",
         spread_text(column(runs, kLastValidation)), spread_text(column(runs, kLastTest))});
  for (const Baseline& baseline : runs.front().baselines)
    row(baseline.name, {"", text(baseline.validation), text(baseline.test), "", "", ""});
}

}  // namespace subquad::lra
