// coverage.sh finds the kernels that no test has launched, or not often enough.
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "subquad/tests/simt/tests/run.h"
#include "subquad/tests/support/temporary_folder.h"

namespace simt {
namespace {

template <int kCase>
__global__ void covered(int* out) {
  *out = kCase;
}
__global__ void never_launched(int*) {}

template <class Kernel>
std::string symbol_of(Kernel kernel) {
  return symbol(reinterpret_cast<const void*>(kernel));
}

struct Answer {
  int status;
  std::string text;
};
Answer shell(const std::string& command) {
  FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  Answer answer;
  std::array<char, 4096> part;
  for (std::size_t n = 0; (n = fread(part.data(), 1, part.size(), pipe)) > 0;) answer.text.append(part.data(), n);
  answer.status = pclose(pipe);
  return answer;
}

const std::string kProgram = std::filesystem::read_symlink("/proc/self/exe");

}  // namespace

TEST_CASE("simt: a kernel that no test launches is found") {
  const subquad::test::TemporaryFolder folder;
  const std::string log = folder / "log";
  std::ofstream(log) << symbol_of(covered<1>) << " 2 1 2\n"
                     << symbol_of(covered<1>) << " 1 7 1\n"
                     << symbol_of(covered<2>) << " 2 7 2\n"
                     << symbol_of(covered<3>) << " 9 1 9\n";
  CHECK(symbol_of(never_launched) != "");
  const Answer answer = shell(SUBQUAD_SOURCE_DIR "/tests/simt/coverage.sh " + log + " " + kProgram);
  CHECK(answer.status != 0);
  CHECK_FALSE(contains(answer.text, "covered<1>"));
  CHECK(contains(answer.text, "launched fewer than three times: void simt::covered<2>(int*)\n"));
  CHECK(contains(answer.text, "never launched with more than one block: void simt::covered<3>(int*)\n"));
  CHECK(contains(answer.text, "never launched: simt::never_launched(int*)\n"));
}

TEST_CASE("simt: a program writes down what it has launched") {
  const subquad::test::TemporaryFolder folder;
  const std::string log = folder / "log";
  int out = 0;
  run(1, {4, 1}, covered<1>, &out);
  const Answer answer =
      shell("SUBQUAD_SIMT_COVERAGE=" + log + " " + kProgram + " -tc='simt: barriers that count and vote'");
  CHECK(answer.status == 0);
  std::string line;
  std::getline(std::ifstream(log), line);
  CHECK(contains(line, "count_votesB6kernel"));
  CHECK(line.ends_with(" 1 1 1"));
}

}  // namespace simt
