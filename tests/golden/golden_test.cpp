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
  const char* name;
  GoldenErrors (*check)(const SafetensorsFile& file, DType dtype);
  double result_bounds[2];  // float64, float32
  double gradient_bounds[2];
};
constexpr Kind kKinds[] = {{"softmax", golden_softmax, {1e-10, 2e-5}, {1e-10, 2e-5}}};

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
  const auto name = file.metadata.find("kind");
  if (name == file.metadata.end()) throw Error("the metadata names no kind");
  for (const Kind& kind : kKinds)
    if (name->second == kind.name) return kind;
  throw Error(cat("no check understands kind ", name->second));
}

// Appends the errors to `line`; true when all of them are within their bounds.
bool check(const SafetensorsFile& file, std::ostream& line) {
  const Kind& kind = kind_of(file);
  bool passed = true;
  int column = 0;
  for (const DType dtype : {kFloat64, kFloat32}) {
    GoldenErrors errors;
    for_each_simd_target([&] { errors.include(kind.check(file, dtype)); });
    line << ' ' << dtype << " results " << errors.results << " gradients " << errors.gradients << ',';
    passed = passed && errors.results <= kind.result_bounds[column] && errors.gradients <= kind.gradient_bounds[column];
    ++column;
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
  std::cout << path.stem().string() << ':' << line.str() << (passed ? " pass" : " FAIL") << '\n';
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
  CHECK_THROWS_WITH_AS(kind_of(file), "the metadata names no kind", Error);
  file.metadata["kind"] = "magic";
  CHECK_THROWS_WITH_AS(kind_of(file), "no check understands kind magic", Error);
}

}  // namespace subquad::test
