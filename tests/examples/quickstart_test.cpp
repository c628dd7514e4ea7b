// What quickstart.sh says before it builds anything.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "subquad/core/error.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;

TEST_SUITE_BEGIN("cpu");

TEST_CASE("quickstart: -h is help, and what its five models cannot all take ends it before it builds") {
  const test::TemporaryFolder folder;
  const auto run = [&](const std::string& arguments) {
    const std::string command = cat("timeout 20 bash '" SUBQUAD_SOURCE_DIR "/examples/quickstart.sh' ", arguments,
                                    " > '", (folder / "text").string(), "' 2>&1");
    const int status = std::system(command.c_str());
    return std::pair(WEXITSTATUS(status), test::read_text(folder / "text"));
  };
  for (const char* help : {"-h", "--help"}) {
    const auto [status, text] = run(help);
    CHECK_EQ(status, 0);
    CHECK_EQ(text.find("From a fresh clone to five trained models"), 0);
  }
  for (const char* refused : {"--data somewhere", "--attention softmax", "--resume", "--model mixer"}) {
    const auto [status, text] = run(refused);
    CHECK_EQ(status, 2);
    CHECK_EQ(text.find("quickstart: --"), 0);
  }
}

TEST_SUITE_END();
