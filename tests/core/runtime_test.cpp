#include "subquad/core/runtime.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "subquad/core/error.h"

namespace subquad::test {

namespace {

// Runs this very program once more with SUBQUAD_SIMD set and has it print its target.
std::string target_of_new_process(const std::string& asked) {
  const std::string command =
      "SUBQUAD_SIMD=" + asked + " /proc/" + std::to_string(::getpid()) + "/exe --simd-target 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string printed;
  for (int c; (c = std::fgetc(pipe)) != EOF;) printed += static_cast<char>(c);
  ::pclose(pipe);
  return printed;
}

}  // namespace

TEST_CASE("the scalar target is always there and stands last") {
  const std::vector<std::string> targets = simd_targets();
  REQUIRE(!targets.empty());
  CHECK(targets.back() == "scalar");
  CHECK(std::find(targets.begin(), targets.end(), simd_target()) != targets.end());
}

TEST_CASE("set_simd_target chooses each target that is offered") {
  const std::string before = simd_target();
  for (const std::string& name : simd_targets()) {
    set_simd_target(name);
    CHECK(simd_target() == name);
  }
  set_simd_target(before);
}

TEST_CASE("set_simd_target lists what is offered when it does not know the name") {
  const std::string before = simd_target();
  std::string offered;
  for (const std::string& name : simd_targets()) offered += (offered.empty() ? "" : ", ") + name;
  CHECK_THROWS_WITH_AS(
      set_simd_target("mmx"),
      ("set_simd_target: SIMD target \"mmx\", expected one of those this processor offers: " + offered).c_str(), Error);
  CHECK(simd_target() == before);
}

TEST_CASE("SUBQUAD_SIMD chooses the target of a process") {
  for (const std::string& name : simd_targets()) CHECK(target_of_new_process(name).starts_with(name));
  CHECK(target_of_new_process("mmx").starts_with("SUBQUAD_SIMD: SIMD target \"mmx\", expected one of"));
}

}  // namespace subquad::test
