// doctest's main, with --device NAME (what to test, cpu unless given), and three questions: --devices prints what NAME
// may be here; --simd-targets what SUBQUAD_SIMD may be on this processor, best first; --simd-target which one is in
// use, or the error that asking for it gives.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <string_view>

#include "subquad/core/error.h"
#include "subquad/core/runtime.h"
#include "subquad/tests/support/device.h"

#ifdef __SANITIZE_ADDRESS__  // a case asks for more memory than there is: it wants an answer, not an end
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
#endif

namespace {

int print_devices() {
  std::puts("cpu");
  try {
    if (subquad::cuda_device_count() > 0) std::puts("cuda");
    return 0;
  } catch (const subquad::Error& error) {  // a GPU whose driver is too old
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

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
  if (argc == 2 && std::string_view(argv[1]) == "--devices") return print_devices();
  if (argc == 2 && std::string_view(argv[1]) == "--simd-targets") {
    for (const std::string& target : subquad::simd_targets()) std::puts(target.c_str());
    return 0;
  }
  if (argc == 2 && std::string_view(argv[1]) == "--simd-target") return print_target();
  doctest::Context context;
  if (argc >= 3 && std::string_view(argv[1]) == "--device") {
    try {
      subquad::test::set_device(subquad::parse_device(argv[2]));
    } catch (const subquad::Error& error) {
      std::puts(error.what());
      return 1;
    }
    argv[2] = argv[0];
    argc -= 2;
    argv += 2;
  }
  context.addFilter("test-suite-exclude", subquad::test::device().is_cpu() ? "cuda" : "cpu");
  context.applyCommandLine(argc, argv);
  return context.run();
}
