#include "subquad/tests/house/quotes.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <regex>

#include "subquad/core/error.h"

namespace subquad::test {

namespace {

constexpr std::array<std::string_view, 7> kCode = {".h", ".cuh", ".cpp", ".cu", ".js", ".py", ".sh"};
constexpr std::size_t kNone = std::string::npos;

bool ends_in(std::string_view path, std::size_t first, std::size_t count) {
  return std::any_of(kCode.begin() + first, kCode.begin() + first + count,
                     [&](std::string_view ending) { return path.ends_with(ending); });
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// The page as one text with as many lines; those of ``` blocks are empty.
std::string outside_blocks(const SourceFile& page) {
  std::string text;
  bool in_block = false;
  for (const std::string& line : page.lines) {
    const bool fence = line.starts_with("```");
    if (fence) in_block = !in_block;
    if (!in_block && !fence) text += line;
    text += '\n';
  }
  return text;
}

// A link that begins at text[open] == '[': its code spans, where its target begins and ends; an end of kNone when it is
// none.
struct Link {
  std::vector<std::string> code;
  std::size_t target = 0, end = kNone;
};

Link link_at(const std::string& text, std::size_t open) {
  Link link;
  for (std::size_t i = open + 1; i < text.size(); ++i) {
    if (text.compare(i, 2, "\n\n") == 0 || text[i] == '[') return {};
    if (text[i] == '`') {
      const std::size_t close = text.find('`', i + 1);
      if (close == kNone) return {};
      link.code.push_back(std::regex_replace(text.substr(i + 1, close - i - 1), std::regex(R"(\\\|)"), "|"));
      i = close;
    } else if (text[i] == ']') {
      if (text.compare(i, 2, "](") != 0) return {};
      link.target = i + 2;
      link.end = text.find(')', i);
      return link;
    }
  }
  return {};
}

// Blanks only where they part two words, so that line breaks and indentation do not matter.
std::string squeezed(std::string_view code) {
  std::string out;
  bool blank = false;
  for (const char c : code) {
    if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      blank = true;
      continue;
    }
    if (blank && !out.empty() && is_word(out.back()) && is_word(c)) out += ' ';
    blank = false;
    out += c;
  }
  return out;
}

// Is `part` in `whole`, and no end of it inside a longer word?
bool holds(const std::string& whole, const std::string& part) {
  if (part.empty()) return false;
  for (std::size_t at = whole.find(part); at != kNone; at = whole.find(part, at + 1)) {
    const std::size_t end = at + part.size();
    const bool begins = at == 0 || !is_word(part.front()) || !is_word(whole[at - 1]);
    const bool ends = end == whole.size() || !is_word(part.back()) || !is_word(whole[end]);
    if (begins && ends) return true;
  }
  return false;
}

// The end of the comment, text or character that begins at code[i]; i where none does.
std::size_t past_text(std::string_view code, std::size_t i) {
  const char quote = code[i];
  const bool separator = quote == '\'' && i > 0 && is_word(code[i - 1]);  // 1'000
  if ((quote != '"' && quote != '\'') || separator) return i;
  for (std::size_t k = i + 1; k < code.size() && code[k] != '\n'; ++k) {
    if (code[k] == '\\') {
      ++k;
    } else if (code[k] == quote) {
      return k + 1;
    }
  }
  return i;
}

std::size_t past_comment(std::string_view code, std::size_t i) {
  if (code.substr(i, 2) == "//") return std::min(code.find('\n', i), code.size());
  if (code.substr(i, 2) == "/*") return std::min(code.find("*/", i + 2), code.size() - 2) + 2;
  return i;
}

}  // namespace

std::vector<Quote> quotes(const SourceFile& page) {
  std::vector<Quote> found;
  const std::string text = outside_blocks(page);
  std::size_t line = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') ++line;
    if (text[i] != '[') continue;
    const Link link = link_at(text, i);
    if (link.end == kNone) continue;
    const std::string target = text.substr(link.target, link.end - link.target);
    if (!ends_in(target, 0, kCode.size())) continue;
    for (const std::string& code : link.code) found.push_back({code, target, line});
  }
  return found;
}

std::string without_comments(std::string_view code) {
  std::string out;
  for (std::size_t i = 0; i < code.size();) {
    if (const std::size_t end = past_text(code, i); end != i) {
      out += code.substr(i, end - i);
      i = end;
    } else if (const std::size_t after = past_comment(code, i); after != i) {
      out += ' ';
      i = after;
    } else {
      out += code[i++];
    }
  }
  return out;
}

std::string misquoted(const std::string& code, const std::filesystem::path& path, const std::string& text) {
  static const std::regex kFile(R"([\w./-]+\.(h|cuh|cpp|cu|js|py|sh))");
  static const std::regex kNames(R"([A-Za-z_]\w*(::~?\w+)*(\(\))?)"), kName(R"(\w+)");
  if (code == path.stem()) return "";
  if (std::regex_match(code, kFile)) {
    const bool same = cat("/", path.string()).ends_with(cat("/", code));
    return same ? "" : cat("the link `", code, "` leads to ", path.string());
  }
  const bool comments_are_slashes = ends_in(path.string(), 0, 5);
  const std::string kept = comments_are_slashes ? without_comments(text) : text;
  if (std::regex_match(code, kNames)) {
    for (std::sregex_iterator name(code.begin(), code.end(), kName), end; name != end; ++name)
      if (!holds(kept, name->str())) return cat(path.string(), " does not know `", name->str(), "`");
    return "";
  }
  return holds(squeezed(kept), squeezed(code)) ? "" : cat(path.string(), " does not say `", code, "`");
}

}  // namespace subquad::test
