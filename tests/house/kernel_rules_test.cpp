// What CUDA code must not say: kernels start, take shared memory and speak PTX through one named place each, so that
// the interpreter of tests/simt can stand in for a GPU, and so that the same input gives the same bits. (Sums by float
// atomics would not; the interpreter has none, so a kernel that asks for one does not compile there.)
#include <doctest/doctest.h>

#include <algorithm>
#include <regex>

#include "subquad/tests/house/source_tree.h"

namespace subquad::test {
namespace {

struct Rule {
  std::regex what;
  std::string allowed;  // where it may stand: a file, or a folder ending in /
  std::string instead;
};

const std::vector<Rule> kRules = {
    {std::regex("<<<"), "", "launch()"},
    {std::regex(R"(\b__shared__\b)"), "core/cuda/shared_bytes.cuh", "SharedMemory::take"},
    {std::regex(R"(\b__constant__\b)"), "", "an argument of the kernel"},
    {std::regex(R"(\basm\b)"), "kernels/warp/ptx.cuh", "a function of kernels/warp/ptx.cuh"},
    {std::regex(R"(\bcuda(Malloc|Free)\w*)"), "core/cuda/", "a tensor of empty()"},
    {std::regex(R"(\bcuda\w*Synchronize\b)"), "core/cuda/", "nothing: a kernel's launcher does not wait"},
    {std::regex(R"(\b(printf|assert)\s*\()"), "", "complain(), or a check at the door"},
    {std::regex(R"(\b(thrust|cub|cooperative_groups)\b)"), "", "a kernel of ours"},
};

std::string without_comment(const std::string& line) {
  return line.substr(0, line.find("//"));
}

// The rule that a line of `path` breaks; nullptr when it breaks none.
const Rule* broken_rule(const std::string& path, const std::string& line) {
  const std::string code = without_comment(line);
  const auto broken = std::find_if(kRules.begin(), kRules.end(), [&](const Rule& rule) {
    const bool allowed = !rule.allowed.empty() && path.starts_with(rule.allowed);
    return !allowed && std::regex_search(code, rule.what);
  });
  return broken == kRules.end() ? nullptr : &*broken;
}

}  // namespace

TEST_CASE("house: a kernel that breaks a rule is noticed") {
  const std::string path = "kernels/softmax/cuda.cu";
  CHECK(broken_rule(path, "  launch(softmax_rows<T>, grid, block, 0, current_stream(), x, y);") == nullptr);
  CHECK(broken_rule(path, "  softmax_rows<<<grid, block>>>(x, y);") != nullptr);
  CHECK(broken_rule(path, "  __shared__ float tile[64];") != nullptr);
  CHECK(broken_rule("core/cuda/shared_bytes.cuh", "extern __shared__ std::byte bytes[];") == nullptr);
  CHECK(broken_rule(path, "  asm(\"bar.sync 0;\");") != nullptr);
  CHECK(broken_rule("kernels/warp/ptx.cuh", "  asm(\"bar.sync 0;\");") == nullptr);
  CHECK(broken_rule(path, "  check(cudaMallocAsync(&p, bytes, stream), \"cudaMallocAsync\");") != nullptr);
  CHECK(broken_rule(path, "// what cudaMalloc and asm would do") == nullptr);
  CHECK(broken_rule(path, "  atomicAdd(&counts[token], 1u);") == nullptr);
}

TEST_CASE("house: CUDA code keeps to launch, SharedMemory and ptx.cuh") {
  for (const std::string folder : {"core", "kernels", "autograd", "nn"}) {
    for (const SourceFile& file : source_files(folder, {".cu", ".cuh"})) {
      for (std::size_t i = 0; i < file.lines.size(); ++i) {
        const Rule* const rule = broken_rule(file.path.string(), file.lines[i]);
        if (rule != nullptr) FAIL_CHECK(place(file, i) << "not here; instead: " << rule->instead);
      }
    }
  }
}

TEST_CASE("house: only CUDA code and the dispatch of core/device.h ask whether CUDA is there") {
  for (const std::string folder : {"core", "kernels", "autograd", "nn", "examples"}) {
    for (const SourceFile& file : source_files(folder, {".h", ".cpp", ".cu", ".cuh"})) {
      if (file.path.string().starts_with("core/")) continue;
      for (std::size_t i = 0; i < file.lines.size(); ++i)
        CHECK_MESSAGE(without_comment(file.lines[i]).find("SUBQUAD_CUDA") == std::string::npos,
                      place(file, i) << "use on_device() of core/device.h");
    }
  }
}

}  // namespace subquad::test
