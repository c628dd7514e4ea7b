// ListOps for make_data:
//
//   DIR/basic_train.tsv   N expressions
//   DIR/basic_val.tsv     N / 48 expressions, at least 200 and at most 2,000; basic_test.tsv as many
//   DIR/make_data.json    the options, and per set: file, number of samples and tokens, hash of the content
#include <unistd.h>

#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "subquad/core/error.h"
#include "subquad/core/file.h"
#include "subquad/examples/lra/baselines.h"
#include "subquad/examples/lra/make_data.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/tasks/listops_tsv.h"
#include "subquad/examples/lra/unfinished_folder.h"

namespace subquad::lra {

namespace {

struct NamedSet {
  std::string name;
  std::string file;
  Sequences sequences;
};

std::vector<NamedSet> generate(const MakeDataOptions& options, ProgressLine& progress, const StopRequest& stop) {
  const Index held_out = std::clamp<Index>(options.count / 48, 200, 2'000);
  const Index total = options.count + 2 * held_out;
  const auto start = std::chrono::steady_clock::now();
  const auto show = [&](Index done) {
    if (stop) throw Stopped{"what was made so far is gone"};
    if (done == 0 || !progress.due()) return;
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    const double left = spent.count() * static_cast<double>(total - done) / static_cast<double>(done);
    progress.show(cat("generated ", done, "/", total, "   ", duration_text(left), " left"));
  };
  std::vector<Sequences> sets =
      generate_listops(options.seed, {options.count, held_out, held_out}, options.lengths, show);
  return {{"train", "basic_train.tsv", std::move(sets[0])},
          {"val", "basic_val.tsv", std::move(sets[1])},
          {"test", "basic_test.tsv", std::move(sets[2])}};
}

std::string description(const MakeDataOptions& options, const std::vector<NamedSet>& sets) {
  nlohmann::ordered_json out = {{"task", options.task},
                                {"seed", options.seed},
                                {"count", options.count},
                                {"min_length", options.lengths.min_length},
                                {"max_length", options.lengths.max_length}};
  for (const NamedSet& set : sets) {
    std::ostringstream hash;
    hash << std::hex << std::setw(16) << std::setfill('0') << set.sequences.hash();
    out["sets"][set.name] = {{"file", set.file},
                             {"samples", set.sequences.size()},
                             {"tokens", set.sequences.token_count()},
                             {"fnv1a64", hash.str()}};
  }
  return out.dump(2) + "\n";
}

void print_table(const std::vector<NamedSet>& sets) {
  std::cout << "set     samples      tokens  mean length  majority class  root operator\n" << std::fixed;
  const Sequences& train = sets.front().sequences;
  for (const auto& [name, file, set] : sets)
    std::cout << std::left << std::setw(6) << name << std::right << std::setw(9) << set.size() << std::setw(12)
              << set.token_count() << std::setprecision(1) << std::setw(13)
              << static_cast<double>(set.token_count()) / static_cast<double>(set.size()) << std::setprecision(4)
              << std::setw(16) << majority_accuracy(train, set) << std::setw(15) << first_token_accuracy(train, set)
              << "\n";
  std::cout << "(accuracy of always the most frequent label, and of the most frequent label for the first token)\n";
}

}  // namespace

void make_listops(const MakeDataOptions& options, const StopRequest& stop) {
  UnfinishedFolder folder(options.out);
  ProgressLine progress(std::cerr, isatty(STDERR_FILENO) == 1, 5);
  progress.print(cat(options.task, ", seed ", options.seed, ", ", options.lengths.min_length, " < tokens < ",
                     options.lengths.max_length, ", into ", options.out.string()));
  const std::vector<NamedSet> sets = generate(options, progress, stop);
  for (const NamedSet& set : sets) {
    if (stop) throw Stopped{"what was made so far is gone"};
    progress.show(cat("writing ", set.file));
    write_listops(folder / set.file, set.sequences);
  }
  AtomicFile json(folder / "make_data.json");
  json.write(description(options, sets));
  json.commit();
  folder.finish();
  print_table(sets);
}

}  // namespace subquad::lra
