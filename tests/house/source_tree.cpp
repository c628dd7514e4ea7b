#include "subquad/tests/house/source_tree.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>

namespace subquad::test {

namespace fs = std::filesystem;

namespace {

const fs::path kRoot = SUBQUAD_SOURCE_DIR;

SourceFile read(const fs::path& path) {
  SourceFile file{fs::relative(path, kRoot), {}};
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) file.lines.push_back(line);
  return file;
}

bool is_ours(const fs::path& folder) {
  static const std::set<std::string> kMade = {"build", "data", "runs"};
  const std::string name = folder.filename().string();
  return !name.starts_with('.') && !(folder.parent_path() == kRoot && kMade.contains(name));
}

}  // namespace

std::vector<SourceFile> source_files(const std::string& folder, const std::vector<std::string_view>& endings) {
  std::vector<SourceFile> files;
  const fs::path top = folder == "." ? kRoot : kRoot / folder;
  for (fs::recursive_directory_iterator entry(top), end; entry != end; ++entry) {
    const std::string name = entry->path().filename().string();
    if (entry->is_directory()) {
      if (!is_ours(entry->path())) entry.disable_recursion_pending();
    } else if (std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return name.ends_with(e); })) {
      files.push_back(read(entry->path()));
    }
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

std::string included(const std::string& line) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"].*)");
  std::smatch match;
  return std::regex_match(line, match, kInclude) ? match[1].str() : "";
}

std::string place(const SourceFile& file, std::size_t line_index) {
  return file.path.string() + ":" + std::to_string(line_index + 1) + ": ";
}

}  // namespace subquad::test
