// Prints one table of several runs of train_lra on the same data.
#include <iostream>

#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/run_table.h"

namespace subquad::lra {

namespace {

int compare_runs(const std::vector<std::string>& args) {
  CLI::App app("Prints one table of several runs of train_lra on the same data.", "compare_runs");
  app.footer(
      "Accuracy is that of the checkpoint with the best validation; minutes are those of training and validation,\n"
      "peak MiB the whole process's, tokens/s the training steps'.");
  std::vector<std::string> folders;
  app.add_option("runs", folders, "Folders of the runs")->type_name("RUN...");
  if (!parse_options(app, args)) return 0;
  if (folders.empty()) throw OptionError("expected the folder of at least one run");
  std::vector<RunSummary> runs;
  for (const std::string& folder : folders) runs.push_back(read_run(folder));
  print_run_table(runs, std::cout);
  return 0;
}

}  // namespace

}  // namespace subquad::lra

int main(int argc, char** argv) {
  return subquad::lra::run_program("compare_runs", argc, argv, subquad::lra::compare_runs);
}
