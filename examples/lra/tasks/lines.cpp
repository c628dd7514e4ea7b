#include "subquad/examples/lra/tasks/lines.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "subquad/core/file.h"

namespace subquad::lra {

LineReader::LineReader(std::filesystem::path path) : path_(std::move(path)) {
  InputFile{path_};  // says it better than a stream when it is missing or a folder
  in_.open(path_, std::ios::binary);
}

bool LineReader::next() {
  if (!std::getline(in_, text_)) {
    if (in_.bad()) throw Error(cat("cannot read ", path_.string(), " after line ", number_));
    return false;
  }
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // spreadsheets write it
  if (++number_ == 1 && text_.starts_with(kByteOrderMark)) text_.erase(0, kByteOrderMark.size());
  if (text_.ends_with('\r')) text_.pop_back();
  return true;
}

void LineReader::fail(std::string_view what) const {
  throw FormatError(cat(path_.string(), number_ > 0 ? cat(": line ", number_) : std::string(), ": ", what));
}

std::vector<std::string_view> split_tabs(std::string_view text, std::size_t most) {
  std::vector<std::string_view> pieces;
  while (pieces.size() + 1 < most) {
    const std::size_t tab = text.find('\t');
    if (tab == std::string_view::npos) break;
    pieces.push_back(text.substr(0, tab));
    text.remove_prefix(tab + 1);
  }
  pieces.push_back(text);
  return pieces;
}

std::optional<std::uint64_t> parse_whole(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string quoted(std::string_view text) {
  const std::string head(text.substr(0, 40));
  return nlohmann::json(head).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace subquad::lra
