// Generates the data of a task: make_data --task listops --out DIR --seed 1
//
// What comes into DIR: make_listops.cpp, make_pathfinder.cpp. The files are a function of the options but for
// --threads. Ends with 0, with 1 on an error, with 2 on a wrong option, with 130 after Ctrl-C and 143 after SIGTERM.
#include <iostream>
#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/examples/lra/make_data.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"

namespace subquad::lra {
namespace {

namespace fs = std::filesystem;

struct Generator {
  std::string task;
  Index count;   // LRA's
  Index fewest;  // of which three sets can be made
  void (*make)(const MakeDataOptions&, const StopRequest&);
};

const std::vector<Generator> kGenerators = {{"listops", 96'000, 1, make_listops},
                                            {"pathfinder", 200'000, 10, make_pathfinder},
                                            {"path-x", 200'000, 10, make_pathfinder}};

const Generator& generator_of(const std::string& task) {
  std::vector<std::string> names;
  for (const Generator& generator : kGenerators) {
    if (generator.task == task) return generator;
    names.push_back(generator.task);
  }
  throw OptionError(cat("--task: unknown task '", task, "'", nearest_hint(task, names)));
}

void add_common_options(CLI::App& app, MakeDataOptions& options, std::string& out) {
  app.add_option("--task", options.task, "What to generate: listops, pathfinder or path-x")
      ->required()
      ->type_name("NAME");
  app.add_option("--out", out, "Folder to make; it must not exist, or be empty")
      ->required()
      ->type_name("DIR")
      ->check(not_empty());
  add_whole(app, "--seed", options.seed, 0, std::numeric_limits<std::uint64_t>::max(),
            "The same seed gives the same data")
      ->capture_default_str();
  app.add_option(
         "--count", options.count,
         "Training samples of listops [96000], whose validation and test sets get 1/48 of it, within 200..2000; "
         "images of the others [200000], which are split 80/10/10 where they are read")
      ->type_name("N")
      ->check(whole(1, 1'000'000'000));
  add_whole(app, "--threads", options.threads, 0, 4096, "0: as many as there are processors")->capture_default_str();
}

CLI::Option* add_listops_options(CLI::App& app, MakeDataOptions& options) {
  const OptionGroup group(app, "listops");
  add_whole(app, "--max-length", options.lengths.max_length, 2, 10'000'000, "Samples are shorter than this (in tokens)")
      ->capture_default_str();
  return app.add_option("--min-length", options.lengths.min_length, "And longer than this [max-length / 4]")
      ->type_name("N")
      ->check(whole(0, 10'000'000));
}

void add_pathfinder_options(CLI::App& app, MakeDataOptions& options) {
  const OptionGroup group(app, "pathfinder");
  add_choice(app, "--difficulty", options.difficulty, parse_pathfinder_level, pathfinder_level_name,
             "easy, intermediate or hard, which is LRA's task");
  add_truth(app, "--equal-contrast", options.equal_contrast,
            "All dashes are equally bright. In LRA's own parameters those of distractors are brighter");
}

bool parse_make_data_options(const std::vector<std::string>& args, MakeDataOptions& options) {
  CLI::App app("Generates the data of a Long Range Arena task.", "make_data");
  std::string out;
  add_common_options(app, options, out);
  const CLI::Option* min_length = add_listops_options(app, options);
  add_pathfinder_options(app, options);
  app.footer(
      "Example: make_data --task listops --out data/listops --seed 1\n"
      "Exit status: 0 done; 1 error; 2 wrong option; 130 Ctrl-C; 143 SIGTERM.");
  if (!parse_options(app, args)) return false;

  const Generator& generator = generator_of(options.task);
  const std::string where = cat("another task; this is ", options.task);
  refuse_unread(app, unread_group(app, options.task == "listops" ? "pathfinder" : "listops", where));
  if (options.count == 0) options.count = generator.count;
  if (options.count < generator.fewest)
    throw OptionError(
        cat("--count ", options.count, " is too little for ", options.task, ", expected at least ", generator.fewest));
  if (min_length->empty()) options.lengths.min_length = options.lengths.max_length / 4;
  if (options.lengths.max_length - options.lengths.min_length < 2)
    throw OptionError(cat("--min-length ", options.lengths.min_length, " and --max-length ", options.lengths.max_length,
                          " leave no length between them"));
  options.out = fs::absolute(out).lexically_normal();
  if (!options.out.has_filename()) options.out = options.out.parent_path();  // "DIR/"
  return true;
}

int make_data(const std::vector<std::string>& args) {
  MakeDataOptions options;
  if (!parse_make_data_options(args, options)) return 0;
  if (options.threads > 0) set_num_threads(options.threads);
  const StopRequest stop;
  try {
    generator_of(options.task).make(options, stop);
  } catch (const Stopped& stopped) {
    std::cerr << "make_data: stopped; " << stopped.message << std::endl;
    return 128 + stop.signal();  // what shells report for a process that a signal has ended
  }
  return 0;
}

}  // namespace
}  // namespace subquad::lra

int main(int argc, char** argv) {
  return subquad::lra::run_program("make_data", argc, argv, subquad::lra::make_data);
}
