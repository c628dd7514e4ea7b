// doctest's main, and one question: --simd-targets prints what SUBQUAD_SIMD may be on this processor, best first.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <string_view>

#include "subquad/core/runtime.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--simd-targets") {
    for (const std::string& target : subquad::simd_targets()) std::puts(target.c_str());
    return 0;
  }
  return doctest::Context(argc, argv).run();
}
