// doctest's main, and two questions: --simd-targets prints what SUBQUAD_SIMD may be on this processor, best first, and
// --simd-target which one is in use, or the error that asking for it gives.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <string_view>

#include "subquad/core/error.h"
#include "subquad/core/runtime.h"

namespace {

int print_target() {
  try {
    std::puts(subquad::simd_target().c_str());
    return 0;
  } catch (const subquad::Error& error) {
    std::puts(error.what());
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--simd-targets") {
    for (const std::string& target : subquad::simd_targets()) std::puts(target.c_str());
    return 0;
  }
  if (argc == 2 && std::string_view(argv[1]) == "--simd-target") return print_target();
  return doctest::Context(argc, argv).run();
}
