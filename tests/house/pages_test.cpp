// What the Markdown pages promise: links lead somewhere, commands name programs that exist, no page is long.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <regex>

#include "subquad/tests/house/source_tree.h"
#include "subquad/tests/support/temporary_folder.h"

namespace subquad::test {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = SUBQUAD_SOURCE_DIR;

// A heading's anchor: lower case, spaces become dashes, punctuation goes.
std::string anchor(const std::string& heading) {
  std::string out;
  for (const char c : heading.substr(heading.find_first_not_of("# "))) {
    const auto letter = static_cast<unsigned char>(c);
    if (std::isalnum(letter) || c == '-' || c == '_') out += static_cast<char>(std::tolower(letter));
    if (c == ' ') out += '-';
  }
  return out;
}

bool has_anchor(const fs::path& page, const std::string& wanted) {
  for (const SourceFile& file : source_files(".", {".md"})) {
    if (kRoot / file.path != page) continue;
    for (const std::string& line : file.lines)
      if (line.starts_with('#') && anchor(line) == wanted) return true;
  }
  return false;
}

// Empty when the link of a page leads to a file (and heading) of ours or out of the project.
std::string broken(const SourceFile& page, const std::string& link) {
  static const std::regex kScheme("^[a-z]+:.*");
  if (std::regex_match(link, kScheme)) return "";
  const std::size_t hash = link.find('#');
  const std::string path = link.substr(0, hash);
  const fs::path target = path.empty() ? kRoot / page.path : (kRoot / page.path).parent_path() / path;
  if (!fs::exists(target)) return "the link " + link + " leads nowhere";
  if (hash != std::string::npos && !has_anchor(fs::canonical(target), link.substr(hash + 1)))
    return "the link " + link + " names a heading that is not there";
  return "";
}

// A program of build/<preset>/bin/: where its source stands decides its name.
bool is_program(const std::string& name) {
  const std::string interpreted = "_simt";  // the same program with interpreted CUDA kernels
  if (name.ends_with(interpreted) && name != "test_simt")
    return is_program(name.substr(0, name.size() - interpreted.size()));
  if (name.starts_with("bench_")) {  // of a folder, or one of those that are made for each family
    const std::regex family("foreach\\(family[^)]*\\b" + name.substr(6) + "\\b");
    return fs::exists(kRoot / "bench" / name.substr(6)) ||
           std::regex_search(test::read_text(kRoot / "bench" / "CMakeLists.txt"), family);
  }
  if (name.starts_with("test_")) return fs::exists(kRoot / "tests" / name.substr(5));
  for (const fs::path& folder : {kRoot / "examples", kRoot / "examples" / "playground"})
    if (fs::exists(folder / (name + ".cpp"))) return true;
  for (const auto& entry : fs::directory_iterator(kRoot / "examples"))
    if (fs::exists(entry.path() / (name + "_main.cpp"))) return true;
  return false;
}

// The words of a shown command that name a script, a preset or a program of ours and are not there.
std::vector<std::string> missing_files(const std::string& command) {
  static const std::regex kWord(R"([^\s]+)");
  static const std::regex kProgram(R"((?:\./)?build/[a-z]+/bin/([a-z_]+))");
  static const std::regex kFile(R"((?:\./)?([A-Za-z_.][\w.-]*(?:/[\w.-]+)*\.(?:sh|toml|py|txt|cmake))|\.ci/run)");
  std::vector<std::string> missing;
  for (std::sregex_iterator word(command.begin(), command.end(), kWord), end; word != end; ++word) {
    const std::string text = word->str();
    std::smatch match;
    if (std::regex_match(text, match, kProgram) ? !is_program(match[1])
                                                : std::regex_match(text, kFile) && !fs::exists(kRoot / text))
      missing.push_back(text);
  }
  return missing;
}

// The files of ours, or pages of notes, that a line's comment sends its reader to and that are not there.
std::vector<std::string> dead_references(const std::string& line) {
  static const std::regex kReference(
      R"((?:^|[\s(])((?:core|kernels|autograd|nn|examples|tests|bench|cmake|papers)/[\w/-]+\.(?:h|cuh|cpp|md))\b)");
  std::vector<std::string> dead;
  const std::string comment = line.substr(std::min(line.find("//"), line.size()));
  for (std::sregex_iterator found(comment.begin(), comment.end(), kReference), end; found != end; ++found)
    if (!fs::exists(kRoot / (*found)[1].str())) dead.push_back((*found)[1]);
  return dead;
}

}  // namespace

TEST_CASE("house: the readers of pages work") {
  CHECK(anchor("## What is here, and what is not (yet)") == "what-is-here-and-what-is-not-yet");
  CHECK(missing_files("bash tests/run.sh --only golden").empty());
  CHECK(missing_files("bash tests/walk.sh") == std::vector<std::string>{"tests/walk.sh"});
  CHECK(missing_files("build/release/bin/no_such_program --steps 5") ==
        std::vector<std::string>{"build/release/bin/no_such_program"});
  CHECK(dead_references("// Source: papers/fsat.md, section 3, and (nn/attention/fsat.h)") ==
        std::vector<std::string>{"papers/fsat.md"});
  CHECK(dead_references("f(\"kernels/no_such_file.h\");").empty());
  const SourceFile page{"tests/README.md", {}};
  CHECK(broken(page, "run.sh") == "");
  CHECK(broken(page, "walk.sh") == "the link walk.sh leads nowhere");
  CHECK(broken(page, "https://example.org") == "");
}

TEST_CASE("house: links in pages resolve") {
  static const std::regex kLink(R"(\]\(([^()\s]+)\))");
  for (const SourceFile& page : source_files(".", {".md"})) {
    for (std::size_t i = 0; i < page.lines.size(); ++i) {
      const std::string& line = page.lines[i];
      for (std::sregex_iterator link(line.begin(), line.end(), kLink), end; link != end; ++link) {
        const std::string wrong = broken(page, (*link)[1]);
        CHECK_MESSAGE(wrong.empty(), place(page, i) << wrong);
      }
    }
  }
}

TEST_CASE("house: commands that pages show exist") {
  for (const SourceFile& page : source_files(".", {".md"})) {
    bool in_block = false;
    for (std::size_t i = 0; i < page.lines.size(); ++i) {
      if (page.lines[i].starts_with("```")) in_block = !in_block;
      if (!in_block) continue;
      for (const std::string& name : missing_files(page.lines[i]))
        CHECK_MESSAGE(false, place(page, i) << name << " is not there");
    }
  }
}

TEST_CASE("house: files that comments name exist") {
  for (const SourceFile& file : source_files(".", {".h", ".cpp", ".cu", ".cuh"})) {
    if (file.path == "tests/house/pages_test.cpp") continue;
    for (std::size_t i = 0; i < file.lines.size(); ++i)
      for (const std::string& name : dead_references(file.lines[i]))
        CHECK_MESSAGE(false, place(file, i) << name << " is not there");
  }
}

TEST_CASE("house: every folder has a page of one screen") {
  for (const std::string folder : {"core", "kernels", "autograd", "nn", "examples", "tests", "bench", "cmake"}) {
    CAPTURE(folder);
    std::size_t lines = 0;
    for (const SourceFile& page : source_files(folder, {"README.md"}))
      if (page.path == fs::path(folder) / "README.md") lines = page.lines.size();
    CHECK(lines > 0);
  }
  for (const SourceFile& page : source_files(".", {"README.md"})) {  // but for the front page, and tables of results
    const std::string path = page.path.string();
    const bool long_one = path == "README.md" || path.starts_with("bench/results/");
    CHECK_MESSAGE((long_one || page.lines.size() <= 60), path << " has " << page.lines.size() << " lines");
  }
}

TEST_CASE("house: pictures of the CUDA page are what draw_cuda.py draws") {
  const auto pictures = [](const fs::path& folder) {
    std::map<std::string, std::string> texts;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".svg") texts[entry.path().filename().string()] = read_text(entry.path());
    return texts;
  };
  const TemporaryFolder folder;
  const std::string script = (kRoot / "kernels" / "draw_cuda.py").string();
  REQUIRE_EQ(std::system(("python3 '" + script + "' '" + folder.path().string() + "'").c_str()), 0);
  const auto drawn = pictures(folder.path()), committed = pictures(kRoot / "kernels");
  CHECK(!drawn.empty());
  CHECK_MESSAGE(drawn == committed, "run python3 kernels/draw_cuda.py");
}

TEST_CASE("house: what is left to do names its issue") {
  static const std::regex kOpen(R"(\bTODO\b(?!\(#\d+\)))");
  for (const SourceFile& file :
       source_files(".", {".h", ".cpp", ".cu", ".cuh", ".sh", ".cmake", "CMakeLists.txt", ".toml"})) {
    if (file.path == "tests/house/pages_test.cpp") continue;  // it spells the word it looks for
    for (std::size_t i = 0; i < file.lines.size(); ++i)
      CHECK_MESSAGE(!std::regex_search(file.lines[i], kOpen), place(file, i) << "write TODO(#issue)");
  }
}

}  // namespace subquad::test
