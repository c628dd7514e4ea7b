// The commands that pages show, run as a reader would: all ```sh blocks of a page one after another, in a folder that
// looks like the project's root and whose build/release/bin is this build's.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <regex>
#include <sstream>
#include <vector>

#include "subquad/core/error.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;

namespace fs = std::filesystem;

namespace {

const fs::path kRoot = SUBQUAD_SOURCE_DIR;

// Commands that take long as they are shown get further options here.
const std::string kShortRun = " --steps 4 --evaluate-every 2 --batch-size 4";
const std::string kShortLearning = " --steps 4 --evaluate-every 4 --test-items 40";
const std::map<std::string, std::string> kShortened = {
    {"bash examples/quickstart.sh", " --help"},  // .ci/run runs it, with --steps 30
    {"build/release/bin/make_data --task listops --out data/listops --seed 1", " --count 400 --max-length 60"},
    {"build/release/bin/train_lra --preset examples/lra/presets/listops/softmax-short.toml --data data/listops --out "
     "runs/first",
     kShortRun},
    {"build/release/bin/train_lra --preset examples/lra/presets/listops/nystrom-short.toml --data data/listops --out "
     "runs/second",
     kShortRun},
    {"build/release/bin/make_data --task listops --out data/listops-quick --seed 1 --max-length 200", " --count 400"},
    {"build/release/bin/train_lra --preset examples/lra/presets/listops/nystrom-quick.toml --data data/listops-quick "
     "--out runs/first",
     kShortRun},
    {"build/release/bin/compare_attention --out compared", " --quick"},
    {"build/release/bin/train_lra --preset examples/lra/presets/listops/$attention-short.toml --data data/listops "
     "--out "
     "runs/listops-$attention",
     kShortRun},
    {"build/release/bin/adding_problem --length 128 --protocol cdil", kShortLearning},
    {"build/release/bin/adding_problem --task adding --length 128 --protocol chord", kShortLearning},
    {"build/release/bin/adding_problem --task order --length 128 --protocol cdil", kShortLearning}};

// Commands in whose place others are run. Those that test all there is cannot be run by one of the tests: of these the
// script is read for its syntax alone. .ci/run runs tests/run.sh whole, with --asan, and with one word after --only,
// "inspect pages"; what the other words select is among the cases of the whole run, and that each of them selects
// something is tested below.
const std::map<std::string, std::string> kReplaced = {
    {"bash tests/run.sh", "bash -n tests/run.sh"},
    {"bash tests/run.sh --only attention", "bash -n tests/run.sh"},
    {"bash tests/run.sh --only golden", "bash -n tests/run.sh"},
    {"bash tests/run.sh --only simt", "bash -n tests/run.sh"},
    {"bash tests/run.sh --only inspect", "bash -n tests/run.sh"},
    {"bash tests/run.sh --asan", "bash -n tests/run.sh"},
    {"bash .ci/run", "bash -n .ci/run"},
    {"build/release/bin/adding_problem --task $task --length $length --protocol $links --steps $steps",
     "build/release/bin/adding_problem --task $task --length 16 --protocol $links --steps $((steps / 2000))"
     " --evaluate-every 2 --test-items 10"}};

std::string shortened(const std::string& line) {
  const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
  const std::size_t end = std::max(begin, line.find_last_not_of(' ', line.find(" #")) + 1);
  const std::string command = line.substr(begin, end - begin);
  if (const auto found = kReplaced.find(command); found != kReplaced.end())
    return line.substr(0, begin) + found->second + line.substr(end);
  const auto found = kShortened.find(command);
  return found == kShortened.end() ? line : line.substr(0, end) + found->second + line.substr(end);
}

// The page as a script: its ```sh blocks, every other line empty, so that line numbers are the page's.
std::string script_of(const std::string& page) {
  std::istringstream lines(page);
  std::ostringstream script;
  bool in_block = false;
  std::string line;
  std::getline(lines, line);  // the title
  script << "set -euo pipefail; trap 'echo \"line $LINENO: $BASH_COMMAND\" >&2' ERR\n";
  while (std::getline(lines, line)) {
    const bool fence = line.starts_with("```");
    if (in_block && !fence) script << shortened(line);
    if (fence) in_block = line == "```sh";
    script << "\n";
  }
  return script.str();
}

// A program that this build was asked to go without, of the interpreter or a benchmark; "" when it has all of them.
std::string not_built(const std::string& script) {
  static const std::regex kOptional(R"(build/release/bin/(\w+_simt|bench_\w+))");
  for (std::sregex_iterator found(script.begin(), script.end(), kOptional), end; found != end; ++found)
    if (!fs::exists(fs::path(SUBQUAD_BIN_DIR) / (*found)[1].str())) return (*found)[1];
  return "";
}

struct Ran {
  int status = 0;
  std::string text;
};

Ran run_script(const std::string& script) {
  const test::TemporaryFolder folder;
  const fs::path root = folder / "root";
  fs::create_directories(root / "build" / "release");
  fs::create_symlink(SUBQUAD_BIN_DIR, root / "build" / "release" / "bin");
  for (const char* name : {"core", "kernels", "autograd", "nn", "examples", "tests", "bench", "cmake", ".ci"})
    fs::create_symlink(kRoot / name, root / name);
  test::write_text(folder / "script", script);
  const std::string command = cat("cd '", root.string(), "' && timeout 600 bash ../script > ../text 2>&1 < /dev/null");
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128, test::read_text(folder / "text")};
}

std::vector<fs::path> pages_with_commands() {
  std::vector<fs::path> pages = {"README.md",
                                 "tests/README.md",
                                 "examples/README.md",
                                 "examples/adding_problem/README.md",
                                 "examples/playground/README.md",
                                 "examples/inspect/README.md",
                                 "examples/compare/README.md",
                                 "autograd/engine.md",
                                 "kernels/cuda.md"};
  for (const auto& entry : fs::directory_iterator(kRoot / "nn" / "attention"))
    if (entry.path().extension() == ".md") pages.push_back(fs::relative(entry.path(), kRoot));
  std::sort(pages.begin(), pages.end());
  return pages;
}

// What tests/run.sh holds the word against: programs, devices, test cases.
std::string read_names() {
  std::string names = "test_golden test_house simt cuda cpu\n";
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "tests")) {
    if (entry.path().extension() != ".cpp") continue;
    std::istringstream lines(test::read_text(entry.path()));
    for (std::string line; std::getline(lines, line);)
      if (const std::size_t at = line.find("TEST_CASE(\""); at != std::string::npos)
        names += line.substr(at + 10) + "\n";
  }
  return names;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("page commands: a command that fails is found, with its line") {
  const std::string page =
      "# A page\n\n```sh\nls build/release/bin > listed\nls examples/README.md   # there\n```\n\nWords.\n\n";
  const Ran good = run_script(script_of(page + "```\nfalse\n```\n"));
  CAPTURE(good.text);
  CHECK_EQ(good.status, 0);
  const Ran bad = run_script(script_of(page + "```sh\ntest -s listed\nls no_such_file | sort\necho after\n```\n"));
  CAPTURE(bad.text);
  CHECK_NE(bad.status, 0);
  CHECK_NE(bad.text.find("line 12: "), std::string::npos);
  CHECK_EQ(bad.text.find("after"), std::string::npos);
  CHECK_EQ(shortened("bash examples/quickstart.sh    # here"), "bash examples/quickstart.sh --help    # here");
  CHECK_EQ(shortened("bash examples/quickstart.sh --steps 5"), "bash examples/quickstart.sh --steps 5");
  CHECK_EQ(shortened("  bash .ci/run   # all"), "  bash -n .ci/run   # all");
  CHECK_EQ(shortened("  "), "  ");
  CHECK_EQ(shortened(""), "");
}

// A command that is no longer shown, or not in these words, would be run at full length, or not at all.
TEST_CASE("page commands: every command that is made short, or replaced, stands on a page") {
  std::string all;
  for (const fs::path& page : pages_with_commands()) all += test::read_text(kRoot / page);
  for (const auto& [command, _] : kShortened) CHECK_MESSAGE(all.find(command) != std::string::npos, command);
  for (const auto& [command, _] : kReplaced) CHECK_MESSAGE(all.find(command) != std::string::npos, command);
  CHECK_NE(test::read_text(kRoot / ".ci" / "run").find("tests/run.sh"), std::string::npos);
}

TEST_CASE("page commands: what stands behind --only selects something") {
  const std::string names = read_names();
  for (const auto& [command, _] : kReplaced) {
    static const std::regex kOnly("--only (\\w+)$");
    std::smatch found;
    if (!std::regex_search(command, found, kOnly)) continue;
    CAPTURE(command);
    CHECK_NE(names.find(found[1].str()), std::string::npos);
  }
}

TEST_CASE("page commands: every command of the pages that teach ends well") {
#ifdef __SANITIZE_ADDRESS__
  MESSAGE("left out under the sanitizers: they see the programs in tests of their own");
  return;
#endif
  for (const fs::path& page : pages_with_commands()) {
    const std::string script = script_of(test::read_text(kRoot / page));
    CAPTURE(page.string());
    if (const std::string program = not_built(script); !program.empty()) {
      MESSAGE(page.string() << ": left out, this build has no " << program);
      continue;
    }
    const Ran ran = run_script(script);
    CHECK_MESSAGE(ran.status == 0, page.string() << ": " << ran.text);
  }
}

TEST_SUITE_END();
