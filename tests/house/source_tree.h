// The project's own files as text, for the tests that read them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace subquad::test {

struct SourceFile {
  std::filesystem::path path;  // from the root of the project: core/tensor.h
  std::vector<std::string> lines;
};

// Every file below `folder` (from the project's root) whose name ends in one of `endings`, sorted by path. "." is the
// whole project without build trees, data, runs and hidden folders.
std::vector<SourceFile> source_files(const std::string& folder, const std::vector<std::string_view>& endings);

// What stands between the quotes or brackets of an #include line; empty for any other line.
std::string included(const std::string& line);

// "core/tensor.h:12: "
std::string place(const SourceFile& file, std::size_t line_index);

}  // namespace subquad::test
