#include <doctest/doctest.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/listops_tsv.h"
#include "subquad/tests/support/subprocess.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::lra;
using test::TemporaryFolder;

namespace {

struct Run {
  int status = 0;
  std::string out;
  std::string err;
};

// The program itself, with its output in files of the folder.
Run make_data(const TemporaryFolder& folder, const std::string& arguments) {
  const auto out = folder / "stdout", err = folder / "stderr";
  const std::string command =
      cat("'" SUBQUAD_BIN_DIR "/make_data' ", arguments, " > '", out.string(), "' 2> '", err.string(), "'");
  const int status = std::system(command.c_str());
  REQUIRE(WIFEXITED(status));
  return {WEXITSTATUS(status), test::read_text(out), test::read_text(err)};
}

std::string small_set(const TemporaryFolder& folder, const std::string& name) {
  return cat("--task listops --count 300 --max-length 40 --out '", (folder / name).string(), "' ");
}

void check_same_files(const TemporaryFolder& folder, const char* a, const char* b) {
  for (const char* file : {"/basic_train.tsv", "/basic_val.tsv", "/basic_test.tsv", "/make_data.json"}) {
    CAPTURE(file);
    CHECK(test::read_text(folder / cat(a, file)) == test::read_text(folder / cat(b, file)));
  }
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("make_data writes three sets and what they are") {
  const TemporaryFolder folder;
  const Run run = make_data(folder, small_set(folder, "a") + "--seed 3");
  CAPTURE(run.err);
  REQUIRE_EQ(run.status, 0);
  CHECK(run.out.find("majority class  root operator") != std::string::npos);
  CHECK(run.err.find("listops, seed 3, 10 < tokens < 40") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "a.unfinished"));

  const auto json = nlohmann::json::parse(test::read_text(folder / "a/make_data.json"));
  CHECK_EQ(json["seed"], 3);
  CHECK_EQ(json["min_length"], 10);
  CHECK_EQ(json["max_length"], 40);
  const auto expected = generate_listops(3, {300, 200, 200}, {.min_length = 10, .max_length = 40});
  const char* names[] = {"train", "val", "test"};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& set = json["sets"][names[i]];
    const Sequences read = read_listops(folder / cat("a/", set["file"].get<std::string>()));
    CHECK_EQ(read.hash(), expected[i].hash());
    CHECK_EQ(std::stoull(set["fnv1a64"].get<std::string>(), nullptr, 16), read.hash());
    CHECK_EQ(set["samples"], read.size());
    CHECK_LT(read.longest(), 40);
  }
}

TEST_CASE("make_data: the files are a function of the options but for --threads") {
  const TemporaryFolder folder;
  REQUIRE_EQ(make_data(folder, small_set(folder, "a") + "--threads 1").status, 0);
  REQUIRE_EQ(make_data(folder, small_set(folder, "b") + "--threads 3 --seed 1").status, 0);
  REQUIRE_EQ(make_data(folder, small_set(folder, "c") + "--seed 2").status, 0);
  check_same_files(folder, "a", "b");
  CHECK(test::read_text(folder / "a/basic_test.tsv") != test::read_text(folder / "c/basic_test.tsv"));
}

TEST_CASE("make_data refuses a folder that is not empty and takes an empty one") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "empty");
  CHECK_EQ(make_data(folder, small_set(folder, "empty")).status, 0);
  const std::string before = test::read_text(folder / "empty/basic_val.tsv");
  const Run again = make_data(folder, small_set(folder, "empty") + "--seed 2");
  CHECK_EQ(again.status, 1);
  CHECK_EQ(again.err, cat("make_data: --out ", (folder / "empty").string(),
                          " exists and is not overwritten; remove it or give another folder\n"));
  CHECK_EQ(test::read_text(folder / "empty/basic_val.tsv"), before);
  test::write_text(folder / "file", "");
  CHECK_EQ(make_data(folder, small_set(folder, "file")).status, 1);
}

TEST_CASE("make_data: a folder beside its own is left alone") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "a.unfinished");
  test::write_text(folder / "a.unfinished/thesis.txt", "ten years");
  CHECK_EQ(make_data(folder, small_set(folder, "a")).status, 0);
  CHECK_EQ(test::read_text(folder / "a.unfinished/thesis.txt"), "ten years");
  CHECK_FALSE(std::filesystem::exists(folder / "a/basic_train.tsv.tmp"));
}

TEST_CASE("make_data: of two into one folder the first makes it, the second changes nothing") {
  const TemporaryFolder folder;
  const std::string out = (folder / "a").string();
  const auto run = [&](const char* seed) {
    return cat("('" SUBQUAD_BIN_DIR "/make_data' ", small_set(folder, "a"), " --seed ", seed, " >'",
               (folder / "log").string(), seed, "' 2>&1; echo $? >'", out, ".", seed, "')");
  };
  const int status = std::system(cat(run("1"), " & ", run("2"), " & wait").c_str());
  CHECK_EQ(status, 0);
  const std::string first = test::read_text(out + ".1"), second = test::read_text(out + ".2");
  CHECK_EQ(std::min(first, second), "0\n");
  CHECK_EQ(std::max(first, second), "1\n");
  const int winner = first == "0\n" ? 1 : 2;
  CHECK_EQ(nlohmann::json::parse(test::read_text(folder / "a/make_data.json"))["seed"], winner);
  CHECK(test::read_text(cat((folder / "log").string(), 3 - winner)).find("exists and is not overwritten") !=
        std::string::npos);
  int unfinished = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "."))
    unfinished += entry.path().string().find("unfinished") != std::string::npos ? 1 : 0;
  CHECK_EQ(unfinished, 0);
}

TEST_CASE("make_data: stopped by a signal it leaves nothing behind") {
  const auto entries = [](const TemporaryFolder& folder) {
    return std::distance(std::filesystem::directory_iterator(folder / "."), std::filesystem::directory_iterator());
  };
  for (const auto& [signal, status] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    const TemporaryFolder folder;
    test::Subprocess program("make_data", {"--task", "listops", "--out", (folder / "a").string(), "--threads", "1"});
    for (int tries = 0; entries(folder) == 0 && tries < 3000; ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    program.signal(signal);
    const test::Finished stopped = program.wait();
    CHECK_EQ(stopped.status, status);
    CHECK_NE(stopped.err.find("make_data: stopped"), std::string::npos);
    CHECK_EQ(entries(folder), 0);
  }
}

TEST_CASE("make_data: a report that cannot be written is an error") {
  const TemporaryFolder folder;
  const std::string command = cat("'" SUBQUAD_BIN_DIR "/make_data' ", small_set(folder, "a"), " > /dev/full 2> '",
                                  (folder / "stderr").string(), "'");
  const int status = std::system(command.c_str());
  CHECK_EQ(WEXITSTATUS(status), 1);
  CHECK(test::read_text(folder / "stderr").find("make_data: cannot write the report") != std::string::npos);
}

TEST_CASE("make_data: wrong options end with 2 and name the nearest right one") {
  const TemporaryFolder folder;
  const auto check_wrong = [&](const std::string& arguments, const std::string& message) {
    CAPTURE(arguments);
    const Run run = make_data(folder, arguments);
    CHECK_EQ(run.status, 2);
    CHECK_EQ(run.err, "make_data: " + message + "\n");
  };
  check_wrong("--out x", "--task is required");
  check_wrong("--task listops", "--out is required");
  check_wrong("--task listop --out x", "--task: unknown task 'listop'; the nearest is listops");
  check_wrong(small_set(folder, "a") + "--max-lenght 7", "unknown option --max-lenght; the nearest is --max-length");
  check_wrong("--task listops --out x --count 0", "--count: 0, expected a whole number between 1 and 1000000000");
  check_wrong("--task listops --out x --count 99999999999999999999",
              "--count: 99999999999999999999, expected a whole number between 1 and 1000000000");
  check_wrong("--task listops --out x --seed -1",
              "--seed: -1, expected a whole number between 0 and 18446744073709551615");
  check_wrong("--task listops --out ''", "--out: the name is empty");
  check_wrong("--task listops --out x --min-length 39 --max-length 40",
              "--min-length 39 and --max-length 40 leave no length between them");
  CHECK_FALSE(std::filesystem::exists(folder / "a"));
}

TEST_CASE("make_data: too few different expressions, or a full disk, leave nothing behind") {
  const TemporaryFolder folder;
  const std::string out = (folder / "a").string();
  const Run few = make_data(folder, "--task listops --min-length 0 --max-length 2 --out '" + out + "'");
  CHECK_EQ(few.status, 1);
  CHECK(few.err.find("listops: only 10 different expressions") != std::string::npos);
  Run full;
  {
    const test::FullDisk limit(8192);
    full = make_data(folder, small_set(folder, "a"));
  }
  CHECK_EQ(full.status, 1);
  CHECK(full.err.find(cat("cannot write ", out, ".unfinished-")) != std::string::npos);
  CHECK(full.err.find("/basic_train.tsv: File too large") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(out));
  for (const auto& entry : std::filesystem::directory_iterator(folder / "."))
    CHECK(entry.path().string().find("unfinished") == std::string::npos);
}

TEST_SUITE_END();
