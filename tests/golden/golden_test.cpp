// Checks every golden file of a folder by what its metadata says it is; see README.md beside this file.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <vector>

#include "subquad/tests/golden/kinds.h"

namespace subquad::test {
namespace {

struct Kind {
  const char* mechanism;
  const char* kind;
  GoldenErrors (*check)(const SafetensorsFile& file, DType dtype);
  double float32_bound;  // on both errors; float64's is kFloat64Bound for all
  bool has_cuda = false;
};
constexpr double kFloat64Bound = 1e-10;
constexpr double kOp = 2e-5, kModel = 1e-4;  // one op; a block or more of them
constexpr Kind kKinds[] = {
    {"softmax", "softmax", golden_softmax, kOp, true},
    {"paramixer", "chord_matmul", golden_chord_matmul, kOp},
    {"paramixer", "block", golden_paramixer_block, kModel},
    {"paramixer", "classifier", golden_paramixer_classifier, kModel},
    {"paramixer", "order", golden_paramixer_classifier, kModel},
    {"paramixer", "adding", golden_paramixer_adding, kModel},
    {"combiner", "attention", golden_combiner_attention, kOp},
    {"fsat", "cross", golden_fsat_cross, kOp},
    {"fsat", "topk", golden_fsat_topk, kOp},
    {"fsat", "gather", golden_fsat_gather, kOp},
    {"fsat", "module", golden_fsat_module, kModel},
    {"nystromformer", "attention", golden_nystromformer_attention, kOp},
    {"nystromformer", "pinv", golden_nystromformer_pinv, kOp},
    {"nystromformer", "encoder_layer", golden_nystromformer_layer, kModel},
    {"nystromformer", "classifier", golden_nystromformer_classifier, kModel},
    {"nystromformer", "two_tower", golden_nystromformer_two_tower, kModel},
};

std::filesystem::path golden_folder() {
  const char* other = std::getenv("SUBQUAD_GOLDEN_DIR");
  return other != nullptr ? std::filesystem::path(other) : std::filesystem::path(SUBQUAD_SOURCE_DIR) / "tests/golden";
}

std::vector<std::filesystem::path> golden_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder()))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

const Kind& kind_of(const SafetensorsFile& file) {
  const auto named = [&](const char* key) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) throw Error(cat("the metadata names no ", key));
    return found->second;
  };
  const std::string mechanism = named("mechanism"), kind = named("kind");
  for (const Kind& known : kKinds)
    if (mechanism == known.mechanism && kind == known.kind) return known;
  throw Error(cat("no check understands kind ", kind, " of ", mechanism));
}

// Appends the errors to `line`; true when all of them are within their bounds.
bool check(const SafetensorsFile& file, std::ostream& line) {
  const Kind& kind = kind_of(file);
  if (!device().is_cpu() && !kind.has_cuda) {
    line << " has no CUDA kernels yet, not run,";
    return true;
  }
  bool passed = true;
  for (const DType dtype : {kFloat64, kFloat32}) {
    GoldenErrors errors;
    for_each_simd_target([&] { errors.include(kind.check(file, dtype)); });
    line << ' ' << dtype << " results " << errors.results << " gradients " << errors.gradients << ',';
    const double bound = dtype == kFloat64 ? kFloat64Bound : kind.float32_bound;
    passed = passed && errors.results <= bound && errors.gradients <= bound;
  }
  return passed;
}

bool check(const std::filesystem::path& path) {
  std::ostringstream line;
  line.precision(2);
  bool passed = false;
  try {
    passed = check(read_safetensors(path), line);
  } catch (const std::exception& error) {
    line << ' ' << error.what() << ',';
  }
  std::cout << path.stem().string() << ':' << line.str() << (passed ? " pass" : " fail") << '\n';
  return passed;
}

}  // namespace

TEST_CASE("golden files") {
  const std::vector<std::filesystem::path> files = golden_files();
  CHECK_MESSAGE(!files.empty(), "no .safetensors file in " << golden_folder());
  for (const std::filesystem::path& file : files) CHECK_MESSAGE(check(file), file);
}

TEST_CASE("golden files of an unknown kind are not understood") {
  SafetensorsFile file;
  CHECK_THROWS_WITH_AS(kind_of(file), "the metadata names no mechanism", Error);
  file.metadata["mechanism"] = "softmax";
  CHECK_THROWS_WITH_AS(kind_of(file), "the metadata names no kind", Error);
  file.metadata["kind"] = "magic";
  CHECK_THROWS_WITH_AS(kind_of(file), "no check understands kind magic of softmax", Error);
}

}  // namespace subquad::test
