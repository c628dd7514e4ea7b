// Text files line by line, with errors that name file and line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace subquad::lra {

// Any bytes are legal in a line. It ends in \n or \r\n, which do not belong to it; a UTF-8 byte order mark at the
// file's begin does not, either.
class LineReader {
 public:
  explicit LineReader(std::filesystem::path path);  // Error when the file cannot be opened

  bool next();  // false after the last line; Error when the file cannot be read

  std::string_view text() const { return text_; }
  std::size_t number() const { return number_; }  // of the line, the first is 1; 0 before it

  // FormatError "PATH: line 7: what"; "PATH: what" before the first line.
  [[noreturn]] void fail(std::string_view what) const;

 private:
  std::filesystem::path path_;
  std::ifstream in_;
  std::string text_;
  std::size_t number_ = 0;
};

// Pieces between tabs: one more than the text has tabs, or `most` of them; the last one has all that is left.
std::vector<std::string_view> split_tabs(std::string_view text, std::size_t most = std::string_view::npos);

// A whole number in plain decimal digits, without sign; nullopt for anything else, and for one beyond 64 bits.
std::optional<std::uint64_t> parse_whole(std::string_view text);

// What stood in a file, short enough for a message, without control characters, in quotes.
std::string quoted(std::string_view text);

}  // namespace subquad::lra
