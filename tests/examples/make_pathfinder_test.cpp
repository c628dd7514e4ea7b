#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/pathfinder_folder.h"
#include "subquad/tests/support/subprocess.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::lra;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

using Args = std::vector<std::string>;

Args easy(const TemporaryFolder& folder, const std::string& name, const Args& more) {
  Args args = {"--task", "pathfinder", "--difficulty", "easy", "--out", (folder / name).string()};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

test::Finished make(const Args& args) {
  return test::run_program("make_data", args);
}

const std::string kLevel = "pathfinder32/curv_baseline";

std::string packed(const TemporaryFolder& folder, const std::string& name) {
  return test::read_text(folder / name / kLevel / "packed.bin");
}

void check_fails(const Args& args, int status, const std::string& message) {
  const test::Finished run = make(args);
  CHECK_EQ(run.status, status);
  CHECK_EQ(run.err.substr(0, run.err.find('\n')), "make_data: " + message);
}

// A program at work on more images than it can draw before it is looked for, with its first block made.
struct AtWork {
  test::Subprocess program;

  explicit AtWork(const TemporaryFolder& folder) : program("make_data", easy(folder, "a", {"--count", "4000"})) {
    for (int tries = 0; tries < 6000 && !fs::exists(folder / "a.unfinished" / kLevel / "metadata/0.npy"); ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
};

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("make_data: pathfinder in LRA's folders and in a packed file") {
  const TemporaryFolder folder;
  const test::Finished run = make(easy(folder, "a", {"--count", "1100", "--seed", "3"}));
  CAPTURE(run.err);
  REQUIRE_EQ(run.status, 0);
  CHECK_NE(run.out.find("images of this run     1100\nconnected              0."), std::string::npos);
  CHECK_NE(run.out.find("redrawn   "), std::string::npos);
  CHECK_FALSE(fs::exists(folder / "a.unfinished"));
  const auto json = nlohmann::json::parse(test::read_text(folder / "a/make_data.json"));
  CHECK_EQ(json["task"], "pathfinder");
  CHECK_EQ(json["seed"], 3);
  CHECK_EQ(json["count"], 1100);
  CHECK_EQ(json["difficulty"], "easy");
  CHECK_EQ(json["equal_contrast"], true);

  const fs::path level = folder / "a" / kLevel;
  CHECK_EQ(read_pathfinder_metadata(level / "metadata/0.npy").size(), 1000);
  const std::vector<PathfinderLine> second = read_pathfinder_metadata(level / "metadata/1.npy");
  REQUIRE_EQ(second.size(), 100);
  CHECK_EQ(second[99].image, "imgs/1/sample_99.png");
  const PathfinderImage last = draw_pathfinder(3, 1099, pathfinder_rules(PathfinderLevel::easy));
  const std::string bytes = packed(folder, "a");
  REQUIRE_EQ(bytes.size(), 1100 * 1025);
  CHECK_EQ(bytes.substr(1099 * 1025, 1)[0], last.label);
  CHECK(bytes.substr(1099 * 1025 + 1) == std::string(last.pixels.begin(), last.pixels.end()));

  const PathfinderSets fast = read_pathfinder(level, 32);
  fs::remove(level / "packed.bin");
  const PathfinderSets slow = read_pathfinder(level, 32);
  CHECK_EQ(fast.train.size(), 880);
  CHECK_EQ(fast.train.hash(), slow.train.hash());
  CHECK_EQ(fast.validation.hash(), slow.validation.hash());
  CHECK_EQ(fast.test.hash(), slow.test.hash());
}

TEST_CASE("make_data: pathfinder's files are a function of the options but for --threads") {
  const TemporaryFolder folder;
  const Args options[] = {
      {"--threads", "1"}, {"--threads", "3", "--seed", "1"}, {"--seed", "2"}, {"--equal-contrast", "false"}};
  for (std::size_t i = 0; i < 4; ++i) {
    Args more = options[i];
    more.insert(more.end(), {"--count", "200"});
    REQUIRE_EQ(make(easy(folder, cat(i), more)).status, 0);
  }
  for (const char* file :
       {"make_data.json", "pathfinder32/curv_baseline/packed.bin", "pathfinder32/curv_baseline/metadata/0.npy",
        "pathfinder32/curv_baseline/imgs/0/sample_7.png"})
    CHECK(test::read_text(folder / "0" / file) == test::read_text(folder / "1" / file));
  CHECK(packed(folder, "0") != packed(folder, "2"));
  CHECK(packed(folder, "0") != packed(folder, "3"));
}

TEST_CASE("make_data: path-x") {
  const TemporaryFolder folder;
  const test::Finished run =
      make({"--task", "path-x", "--difficulty", "easy", "--count", "10", "--out", (folder / "a").string()});
  REQUIRE_EQ(run.status, 0);
  CHECK_NE(run.out.find("with margin 3"), std::string::npos);
  const PathfinderSets sets = read_pathfinder(folder / "a/pathfinder128/curv_baseline", 128);
  CHECK_EQ(sets.train.longest(), 16384);
  CHECK_EQ(sets.train.size() + sets.validation.size() + sets.test.size(), 10);
}

TEST_CASE("make_data: pathfinder stopped or killed goes on to the same files") {
  const TemporaryFolder whole;
  REQUIRE_EQ(make(easy(whole, "a", {"--count", "4000"})).status, 0);
  for (const auto& [signal, status] : {std::pair{SIGINT, 130}, {SIGKILL, 128 + SIGKILL}}) {
    const TemporaryFolder folder;
    AtWork work(folder);
    work.program.signal(signal);
    const test::Finished stopped = work.program.wait();
    REQUIRE_EQ(stopped.status, status);
    if (signal == SIGINT)
      CHECK_NE(stopped.err.find("make_data: stopped; the same command goes on with what was made so far"),
               std::string::npos);
    CHECK_FALSE(fs::exists(folder / "a"));

    check_fails(easy(folder, "a", {"--count", "4000", "--seed", "2"}), 1,
                cat("--out: ", (folder / "a.unfinished/make_data.json").string(),
                    " says that this was begun with other options; give those, or another folder, or remove it"));
    const test::Finished resumed = make(easy(folder, "a", {"--count", "4000"}));
    REQUIRE_EQ(resumed.status, 0);
    CHECK_EQ(resumed.out.find("images of this run     4000"), std::string::npos);
    CHECK_FALSE(fs::exists(folder / "a.unfinished"));
    CHECK(packed(folder, "a") == packed(whole, "a"));
    for (const char* file : {"metadata/0.npy", "metadata/3.npy", "imgs/0/sample_999.png", "imgs/3/sample_0.png"})
      CHECK(test::read_text(folder / "a" / kLevel / file) == test::read_text(whole / "a" / kLevel / file));
  }
}

TEST_CASE("make_data: of two at work on one pathfinder folder the second gives up") {
  const TemporaryFolder folder;
  AtWork work(folder);
  check_fails(easy(folder, "a", {"--count", "4000"}), 1,
              cat("--out: another process is at work in ", (folder / "a.unfinished").string()));
  work.program.signal(SIGTERM);
  CHECK_EQ(work.program.wait().status, 143);
}

TEST_CASE("make_data: pathfinder overwrites nothing, and goes on after a full disk") {
  const TemporaryFolder folder;
  const Args args = easy(folder, "a", {"--count", "40"});
  fs::create_directory(folder / "a");
  test::write_text(folder / "a/thesis.txt", "ten years");
  check_fails(
      args, 1,
      cat("--out ", (folder / "a").string(), " exists and is not overwritten; remove it or give ", "another folder"));
  fs::remove(folder / "a/thesis.txt");
  fs::create_directory(folder / "a.unfinished");
  test::write_text(folder / "a.unfinished/thesis.txt", "ten years");
  check_fails(args, 1,
              cat("--out: ", (folder / "a.unfinished").string(),
                  " is in the way, and make_data has not made it; give another folder"));
  CHECK_EQ(test::read_text(folder / "a.unfinished/thesis.txt"), "ten years");
  fs::remove(folder / "a.unfinished/thesis.txt");

  const test::Finished full = test::Subprocess("make_data", args, 8192).wait();
  CHECK_EQ(full.status, 1);
  CHECK_NE(full.err.find("packed.bin: File too large"), std::string::npos);
  CHECK(fs::is_empty(folder / "a"));
  CHECK_EQ(make(args).status, 0);
  CHECK_EQ(packed(folder, "a").size(), 40 * 1025);
}

TEST_CASE("make_data: options of another task are refused") {
  check_fails({"--task", "listops", "--difficulty", "easy", "--out", "x"}, 2,
              "--difficulty easy belongs to another task; this is listops");
  check_fails({"--task", "listops", "--equal-contrast", "false", "--out", "x"}, 2,
              "--equal-contrast false belongs to another task; this is listops");
  check_fails({"--task", "path-x", "--max-length", "99", "--out", "x"}, 2,
              "--max-length 99 belongs to another task; this is path-x");
  check_fails({"--task", "pathfinder", "--count", "9", "--out", "x"}, 2,
              "--count 9 is too little for pathfinder, expected at least 10");
  check_fails({"--task", "pathfinder", "--difficulty", "Hard", "--out", "x"}, 2,
              "--difficulty: 'Hard', expected easy, intermediate or hard");
}

TEST_SUITE_END();
