// Pages quote code that is there: tests/house/quotes.h says how a quotation is written.
#include "subquad/tests/house/quotes.h"

#include <doctest/doctest.h>

#include <map>
#include <regex>
#include <set>

#include "subquad/tests/support/temporary_folder.h"

namespace subquad::test {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = SUBQUAD_SOURCE_DIR;

// One line for each quotation of the page that is not in its file. A link that leads nowhere is for pages_test.cpp.
std::vector<std::string> misquotations(const SourceFile& page) {
  std::vector<std::string> wrong;
  for (const Quote& quote : quotes(page)) {
    const fs::path file = kRoot / page.path.parent_path() / quote.target;
    if (!fs::is_regular_file(file)) continue;
    const std::string what = misquoted(quote.code, fs::relative(file, kRoot), read_text(file));
    if (!what.empty()) wrong.push_back(place(page, quote.line) + what);
  }
  return wrong;
}

std::vector<std::string> words_of(const std::string& text) {
  static const std::regex kWord(R"(\w+)");
  return {std::sregex_token_iterator(text.begin(), text.end(), kWord), std::sregex_token_iterator()};
}

// Of the code spans of a line that are nothing but a name, of more than one word as only code has them, or of a
// namespace: those that nothing is called by. Names of test programs are put together by CMake.
std::vector<std::string> unknown_names(const std::string& line, const std::set<std::string>& known) {
  static const std::regex kSpan(R"(`([A-Za-z_][\w:]*)(?:\(\))?`)"), kOfCode("_|::|[a-z][A-Z]");
  std::vector<std::string> unknown;
  for (std::sregex_iterator span(line.begin(), line.end(), kSpan), end; span != end; ++span) {
    const std::string name = (*span)[1];
    if (!std::regex_search(name, kOfCode) || name.starts_with("test_")) continue;
    for (const std::string& word : words_of(name))
      if (!known.contains(word)) unknown.push_back(word);
  }
  return unknown;
}

SourceFile planted(std::vector<std::string> lines) {
  return {"tests/house/planted.md", std::move(lines)};
}

const std::string kSource =
    "// only_in_a_comment\n"
    "Variable mix(const Variable& w) {  // [B, N, L]\n"
    "  return add(chord_matmul(w,  // the factor\n"
    "                          v), /* and */ v);\n"
    "}\n"
    "const char* const kPage = \"https://here\"; const int kMany = 1'000'000;\n";

}  // namespace

TEST_CASE("house: quotations of a page are found") {
  const std::vector<Quote> found = quotes(
      planted({"See [`one`](a.h) and [the two, `two` and `x[i]`](b/c.cuh),",
               "[plain](d.h), `[code](e.h)`, [`page`](f.md), [`url`](https://x.org),",
               "| [`a \\| b`](g.cpp) | ![`no`](h.svg) |", "```", "[`block`](i.h)", "```", "[`over", "lines`](j.cu)"}));
  std::string listed;
  for (const Quote& quote : found) listed += quote.code + " " + quote.target + " " + std::to_string(quote.line) + "; ";
  CHECK_EQ(listed, "one a.h 0; two b/c.cuh 0; x[i] b/c.cuh 0; a | b g.cpp 2; over\nlines j.cu 6; ");
}

TEST_CASE("house: comments are left out, texts are not") {
  CHECK_EQ(without_comments("a // b\nc /* d\n */ e"), "a  \nc   e");
  CHECK_EQ(without_comments("f(\"//\", '\"', 1'0, \"\\\"//\") // x"), "f(\"//\", '\"', 1'0, \"\\\"//\")  ");
  CHECK_EQ(without_comments("/* never closed"), " ");
}

TEST_CASE("house: a name or a line that a file does not have is noticed") {
  const auto wrong = [](const std::string& code) { return misquoted(code, "nn/mix.cpp", kSource); };
  for (const char* there :
       {"mix", "mix()", "Variable", "mix.cpp", "nn/mix.cpp", "kMany", "return add(chord_matmul(w, v), v);",
        "chord_matmul(w,v)", "\"https://here\"", "1'000'000"}) {
    CAPTURE(there);
    CHECK_EQ(wrong(there), "");
  }
  CHECK_EQ(wrong("chord"), "nn/mix.cpp does not know `chord`");  // part of a longer word
  CHECK_EQ(wrong("nn::mix"), "nn/mix.cpp does not know `nn`");
  CHECK_EQ(wrong("only_in_a_comment"), "nn/mix.cpp does not know `only_in_a_comment`");
  CHECK_EQ(wrong("add(chord_matmul(w, v), w)"), "nn/mix.cpp does not say `add(chord_matmul(w, v), w)`");
  CHECK_EQ(wrong("matmul(w, v)"), "nn/mix.cpp does not say `matmul(w, v)`");
  CHECK_EQ(wrong("re turn add("), "nn/mix.cpp does not say `re turn add(`");
  CHECK_EQ(wrong("mix.h"), "the link `mix.h` leads to nn/mix.cpp");
}

TEST_CASE("house: a planted page with wrong quotations fails, line by line") {
  const std::string here = "tests/house/planted.md:";
  CHECK_EQ(misquotations(planted({"[`quotes`](quotes.h) [`misquoted`](quotes.cpp) [`quotes.h`](quotes.h)",
                                  "[`std::string without_comments(std::string_view code);`](quotes.h)"})),
           std::vector<std::string>{});
  CHECK_EQ(misquotations(planted({"[`forgotten`](quotes.h)", "", "| x | [`return found.size();`](quotes.cpp) |"})),
           std::vector<std::string>{here + "1: tests/house/quotes.h does not know `forgotten`",
                                    here + "3: tests/house/quotes.cpp does not say `return found.size();`"});
}

TEST_CASE("house: code that pages quote is there") {
  std::map<std::string, std::size_t> counts;
  for (const SourceFile& page : source_files(".", {".md"})) {
    counts[page.path.string()] = quotes(page).size();
    for (const std::string& wrong : misquotations(page)) FAIL_CHECK(wrong);
  }
  for (const char* name : {"softmax", "nystrom", "fsat", "paramixer", "combiner"}) {
    CAPTURE(name);
    CHECK_GE(counts["nn/attention/" + std::string(name) + ".md"], 9);  // the reader of pages reads
  }
  CHECK_GE(counts["autograd/engine.md"], 20);
  CHECK_GE(counts["kernels/cuda.md"], 50);
}

TEST_CASE("house: names in pages are names of the code") {
  std::set<std::string> known;
  for (const SourceFile& file :
       source_files(".", {".h", ".cpp", ".cu", ".cuh", ".py", ".sh", ".js", ".cmake", ".toml", "CMakeLists.txt"})) {
    known.insert(file.path.stem().string());
    for (const std::string& line : file.lines)
      for (const std::string& word : words_of(line)) known.insert(word);
  }
  CHECK(unknown_names("calls `known_name` and `ns::gone_name()`, `plain`, `--an_option`, `test_core_simt`",
                      {"known_name", "ns"}) == std::vector<std::string>{"gone_name"});
  for (const SourceFile& page : source_files(".", {".md"})) {
    if (page.path.string().starts_with("tests/golden/")) continue;  // they name arrays of files
    for (std::size_t i = 0; i < page.lines.size(); ++i)
      for (const std::string& name : unknown_names(page.lines[i], known))
        CHECK_MESSAGE(false, place(page, i) << "no code has the name `" << name << "`");
  }
}

}  // namespace subquad::test
