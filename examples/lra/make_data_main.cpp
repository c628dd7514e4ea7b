// Generates the data of a task: make_data --task listops --out DIR --seed 1
//
//   DIR/basic_train.tsv   N expressions (96,000 unless --count says otherwise)
//   DIR/basic_val.tsv     N / 48 expressions, at least 200 and at most 2,000; basic_test.tsv as many
//   DIR/make_data.json    the options, and per set: file, number of samples and tokens, hash of the content
//
// The files are a function of the options but for --threads. They are made in a new folder DIR.unfinished-XXXXXX, from
// which they move to DIR in the end, so DIR is complete or not there; only a killed run leaves such a folder behind.
// Ends with 0, with 1 on an error, with 2 on a wrong option, with 130 after Ctrl-C and 143 after SIGTERM.
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "subquad/core/file.h"
#include "subquad/core/parallel.h"
#include "subquad/examples/lra/baselines.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/stop_request.h"
#include "subquad/examples/lra/tasks/listops_tsv.h"

namespace subquad::lra {
namespace {

namespace fs = std::filesystem;

struct MakeDataOptions {
  std::string task;
  fs::path out;
  std::uint64_t seed = 1;
  Index count = 96'000;
  ListopsLengths lengths;
  int threads = 0;
};

bool parse_make_data_options(const std::vector<std::string>& args, MakeDataOptions& options) {
  CLI::App app("Generates the data of a Long Range Arena task.", "make_data");
  const std::vector<std::string> tasks = {"listops"};
  std::string out;
  app.add_option("--task", options.task, "What to generate: listops")->required()->type_name("NAME");
  app.add_option("--out", out, "Folder to make; it must not exist, or be empty")
      ->required()
      ->type_name("DIR")
      ->check(not_empty());
  app.add_option("--seed", options.seed, "The same seed gives the same data")
      ->type_name("N")
      ->check(whole(0, std::numeric_limits<std::uint64_t>::max()))
      ->capture_default_str();
  app.add_option("--count", options.count, "Training samples; validation and test get 1/48 of it, within 200..2000")
      ->type_name("N")
      ->check(whole(1, 1'000'000'000))
      ->capture_default_str();
  app.add_option("--max-length", options.lengths.max_length, "Samples are shorter than this (in tokens)")
      ->type_name("N")
      ->check(whole(2, 10'000'000))
      ->capture_default_str();
  CLI::Option* min_length =
      app.add_option("--min-length", options.lengths.min_length, "And longer than this [max-length / 4]");
  min_length->type_name("N")->check(whole(0, 10'000'000));
  app.add_option("--threads", options.threads, "0: as many as there are processors")
      ->type_name("N")
      ->check(whole(0, 4096))
      ->capture_default_str();
  app.footer(
      "Example: make_data --task listops --out data/listops --seed 1\n"
      "Exit status: 0 done; 1 error; 2 wrong option; 130 Ctrl-C; 143 SIGTERM.");
  if (!parse_options(app, args)) return false;

  if (options.task != "listops")
    throw OptionError(cat("--task: unknown task '", options.task, "'", nearest_hint(options.task, tasks)));
  if (min_length->empty()) options.lengths.min_length = options.lengths.max_length / 4;
  if (options.lengths.max_length - options.lengths.min_length < 2)
    throw OptionError(cat("--min-length ", options.lengths.min_length, " and --max-length ", options.lengths.max_length,
                          " leave no length between them"));
  options.out = fs::absolute(out).lexically_normal();
  if (!options.out.has_filename()) options.out = options.out.parent_path();  // "DIR/"
  return true;
}

// Where the files are made: a folder beside DIR that nobody else has. What is in it becomes DIR when all is well and is
// removed else.
class UnfinishedFolder {
 public:
  explicit UnfinishedFolder(const fs::path& out) : out_(out), parent_(out.string() + ".unfinished-XXXXXX") {
    if (fs::exists(out) && !(fs::is_directory(out) && fs::is_empty(out))) fail_exists();
    std::error_code failure;
    fs::create_directories(out.parent_path(), failure);
    if (!failure && !mkdtemp(parent_.data())) failure = std::error_code(errno, std::generic_category());
    if (failure) throw Error(cat("--out ", out.string(), ": ", failure.message()));
    path_ = fs::path(parent_) / out.filename();
    fs::create_directory(path_);  // with the usual permissions, which mkdtemp does not give
  }
  ~UnfinishedFolder() {
    std::error_code ignored;
    fs::remove_all(parent_, ignored);
  }
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;

  fs::path operator/(const std::string& name) const { return path_ / name; }
  void finish() {
    std::error_code failure;
    fs::rename(path_, out_, failure);
    if (failure == std::errc::directory_not_empty || failure == std::errc::file_exists) fail_exists();
    if (failure) throw Error(cat("--out ", out_.string(), ": ", failure.message()));
  }

 private:
  [[noreturn]] void fail_exists() const {
    throw Error(cat("--out ", out_.string(), " exists and is not overwritten; remove it or give another folder"));
  }

  fs::path out_;
  std::string parent_;
  fs::path path_;
};

struct NamedSet {
  std::string name;
  std::string file;
  Sequences sequences;
};

struct Stopped {};  // thrown where a signal came, so that what is made so far goes

std::vector<NamedSet> generate(const MakeDataOptions& options, ProgressLine& progress, const StopRequest& stop) {
  const Index held_out = std::clamp<Index>(options.count / 48, 200, 2'000);
  const Index total = options.count + 2 * held_out;
  const auto start = std::chrono::steady_clock::now();
  const auto show = [&](Index done) {
    if (stop) throw Stopped();
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

void make_sets(const MakeDataOptions& options, const StopRequest& stop) {
  UnfinishedFolder folder(options.out);
  ProgressLine progress(std::cerr, isatty(STDERR_FILENO) == 1, 5);
  progress.print(cat(options.task, ", seed ", options.seed, ", ", options.lengths.min_length, " < tokens < ",
                     options.lengths.max_length, ", into ", options.out.string()));
  const std::vector<NamedSet> sets = generate(options, progress, stop);
  for (const NamedSet& set : sets) {
    if (stop) throw Stopped();
    progress.show(cat("writing ", set.file));
    write_listops(folder / set.file, set.sequences);
  }
  AtomicFile json(folder / "make_data.json");
  json.write(description(options, sets));
  json.commit();
  folder.finish();
  print_table(sets);
}

int make_data(const std::vector<std::string>& args) {
  MakeDataOptions options;
  if (!parse_make_data_options(args, options)) return 0;
  if (options.threads > 0) set_num_threads(options.threads);
  const StopRequest stop;
  try {
    make_sets(options, stop);
  } catch (const Stopped&) {
    std::cerr << "make_data: stopped; what was made so far is gone" << std::endl;
    return 128 + stop.signal();  // what shells report for a process that a signal has ended
  }
  return 0;
}

}  // namespace
}  // namespace subquad::lra

int main(int argc, char** argv) {
  return subquad::lra::run_program("make_data", argc, argv, subquad::lra::make_data);
}
