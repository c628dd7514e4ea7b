// Prints what several runs of train_lra have reached: a table for each task, means over seeds, averages over tasks.
#include <iostream>

#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/run_folder.h"
#include "subquad/examples/lra/run_table.h"

namespace subquad::lra {

namespace {

int compare_runs(const std::vector<std::string>& args) {
  CLI::App app("Prints one table for each task of several runs of train_lra, which saw the same data of it.",
               "compare_runs");
  app.footer(
      "Accuracy is that of the checkpoint with the best validation; minutes are those of training and validation,\n"
      "peak MiB the whole process's, tokens/s the training steps'. Runs that differ by their seed alone get a mean\n"
      "and the sample's standard deviation; of several tasks, LRA's averages follow.");
  std::vector<std::string> folders;
  app.add_option("runs", folders, "Folders of runs, or of a run with --seeds")->type_name("RUN...");
  if (!parse_options(app, args)) return 0;
  if (folders.empty()) throw OptionError("expected the folder of at least one run");
  std::vector<RunSummary> runs;
  for (const std::string& folder : folders) {
    const std::vector<std::filesystem::path> seeds = seed_folders(folder);
    if (seeds.empty()) runs.push_back(read_run(folder));
    for (const std::filesystem::path& seed : seeds) runs.push_back(read_run(seed));
  }
  print_run_tables(runs, std::cout);
  return 0;
}

}  // namespace

}  // namespace subquad::lra

int main(int argc, char** argv) {
  return subquad::lra::run_program("compare_runs", argc, argv, subquad::lra::compare_runs);
}
