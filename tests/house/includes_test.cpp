// core <- kernels <- autograd <- nn <- examples: a floor includes itself and what stands to its left.
#include <doctest/doctest.h>

#include <algorithm>

#include "subquad/tests/house/source_tree.h"

namespace subquad::test {
namespace {

const std::vector<std::string> kFloors = {"core", "kernels", "autograd", "nn", "examples"};
const std::vector<std::string_view> kCode = {".h", ".cpp", ".cu", ".cuh"};

std::size_t floor_of(const std::string& folder) {
  return static_cast<std::size_t>(std::find(kFloors.begin(), kFloors.end(), folder) - kFloors.begin());
}

// What is wrong with including `header` from a file of `folder`; empty when nothing is.
std::string complaint(const std::string& folder, const std::string& header) {
  if (!header.starts_with("subquad/")) return "";
  const std::string from = header.substr(8, header.find('/', 8) - 8);
  if (floor_of(from) == kFloors.size()) return "includes " + header + ", which is no part of the product";
  if (floor_of(from) > floor_of(folder)) return "includes " + header + ", but " + folder + " stands below " + from;
  return "";
}

// Not installed: what is behind the doors, Highway code that kernels share and is compiled once per SIMD target, and
// the CUDA runtime.
bool is_private(const SourceFile& file) {
  const std::string path = file.path.string();
  return path.ends_with("-inl.h") || path.ends_with("/cpu.h") || path.ends_with("/cuda.h") ||
         path.starts_with("kernels/simd/") || path.starts_with("core/cuda/");
}

}  // namespace

TEST_CASE("house: an upward include is noticed") {
  CHECK(complaint("kernels", "subquad/core/tensor.h") == "");
  CHECK(complaint("kernels", "subquad/kernels/simd/targets.h") == "");
  CHECK(complaint("core", "vector") == "");
  CHECK(complaint("core", "subquad/nn/module.h") == "includes subquad/nn/module.h, but core stands below nn");
  CHECK(complaint("nn", "subquad/tests/support/compare.h") ==
        "includes subquad/tests/support/compare.h, which is no part of the product");
  CHECK(included("#include \"subquad/core/view.h\"  // why") == "subquad/core/view.h");
  CHECK(included("  #  include <vector>") == "vector");
  CHECK(included("// #include nothing") == "");
}

TEST_CASE("house: no floor includes one above it") {
  for (const std::string& folder : kFloors) {
    for (const SourceFile& file : source_files(folder, kCode)) {
      for (std::size_t i = 0; i < file.lines.size(); ++i) {
        const std::string wrong = complaint(folder, included(file.lines[i]));
        CHECK_MESSAGE(wrong.empty(), place(file, i) << wrong);
      }
    }
  }
}

TEST_CASE("house: our headers are included by their full name") {
  for (const SourceFile& file : source_files(".", kCode)) {
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      const bool quoted = !included(file.lines[i]).empty() && file.lines[i].find('"') != std::string::npos;
      const bool full = included(file.lines[i]).starts_with("subquad/");
      CHECK_MESSAGE((!quoted || full), place(file, i)
                                           << "write #include \"subquad/...\" for a header of ours, <...> else");
    }
  }
}

TEST_CASE("house: installed headers need nothing but the standard library") {
  const std::vector<std::string_view> hidden = {"hwy/",     "nlohmann/",  "CLI/", "cblas",  "dlfcn",
                                                "doctest/", "benchmark/", "cuda", "cublas", "cufft", "nvtx"};
  for (const std::string folder : {"core", "kernels", "autograd", "nn"}) {
    for (const SourceFile& file : source_files(folder, {".h"})) {
      if (is_private(file)) continue;
      for (std::size_t i = 0; i < file.lines.size(); ++i) {
        const std::string header = included(file.lines[i]);
        const bool leaks =
            std::any_of(hidden.begin(), hidden.end(), [&](std::string_view h) { return header.starts_with(h); });
        CHECK_MESSAGE(!leaks, place(file, i) << header << " is private to us and would be missing after an install");
      }
    }
  }
}

// A .cpp that includes its own header first shows that this header compiles alone; headers without such a .cpp are
// compiled by tests/CMakeLists.txt.
TEST_CASE("house: a source file includes its own header first") {
  for (const std::string& folder : kFloors) {
    for (const SourceFile& file : source_files(folder, {".cpp", ".cu"})) {
      const std::filesystem::path header = std::filesystem::path(file.path).replace_extension(".h");
      if (!std::filesystem::exists(SUBQUAD_SOURCE_DIR / header)) continue;
      const auto first = std::find_if(file.lines.begin(), file.lines.end(),
                                      [](const std::string& line) { return !included(line).empty(); });
      const std::string got = first == file.lines.end() ? "nothing" : included(*first);
      CHECK_MESSAGE(got == "subquad/" + header.string(), file.path.string() << " includes " << got << " first");
    }
  }
}

}  // namespace subquad::test
