// Which peers the comparison takes for right: asked in Python, where there is PyTorch.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "subquad/core/error.h"
#include "subquad/tests/support/temporary_folder.h"

namespace subquad::test {

TEST_SUITE("cpu") {
  TEST_CASE("peers: float64 judges where float32 results differ") {
    const TemporaryFolder folder;
    const std::string said = (folder / "said").string();
    const std::string own = cat(SUBQUAD_SOURCE_DIR, "/build/peers/bin/python");  // what bench/compare.sh installed
    const std::string usual = std::filesystem::exists(own) ? own : "python3";
    const int status = std::system(cat("\"${SUBQUAD_PEER_PYTHON:-", usual, "}\" '", SUBQUAD_SOURCE_DIR,
                                       "/tests/bench/peers_check.py' > '", said, "' 2>&1")
                                       .c_str());
    const std::string text = read_text(said);
    if (text == "no PyTorch\n") {
      MESSAGE("peers: not checked, python3 has no PyTorch (SUBQUAD_PEER_PYTHON names one that has, and bench/compare.sh installs it)");
      return;
    }
    INFO(text);
    CHECK_EQ(WEXITSTATUS(status), 0);
  }
}

}  // namespace subquad::test
