#include "subquad/examples/lra/tasks/listops_tsv.h"

#include <algorithm>
#include <charconv>

#include "subquad/core/file.h"
#include "subquad/examples/lra/tasks/lines.h"

namespace subquad::lra {

namespace {

constexpr std::string_view kHeader = "Source\tTarget";

class ListopsReader {
 public:
  ListopsReader(const std::filesystem::path& path, const ListopsReading& reading) : lines_(path), reading_(reading) {}

  Sequences run() {
    while (lines_.next()) {
      if (lines_.number() == 1)
        check_header(lines_.text());
      else if (!lines_.text().empty())
        read_row(lines_.text());
    }
    if (lines_.number() == 0) fail(cat("the file is empty, expected the header ", quoted(kHeader)));
    if (set_.size() == 0) fail("no expression follows the header");
    return std::move(set_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { lines_.fail(what); }

  void check_header(std::string_view text) const {
    if (text != kHeader) fail(cat("header is ", quoted(text), ", expected ", quoted(kHeader)));
  }

  // What `f` returns; its complaints get file and line.
  template <class F>
  auto in_this_line(const F& f) const {
    try {
      return f();
    } catch (const FormatError& error) {
      fail(error.what());
    }
  }

  void read_row(std::string_view text) {
    const std::size_t fields = 1 + static_cast<std::size_t>(std::count(text.begin(), text.end(), '\t'));
    if (fields != 2) fail(cat(fields, fields == 1 ? " field" : " fields", ", expected 2: expression, tab, label"));
    const std::size_t tab = text.find('\t');
    tokens_ = in_this_line([&] { return parse_listops(text.substr(0, tab)); });
    const int label = read_label(text.substr(tab + 1));
    const int value = in_this_line([&] { return evaluate_listops(tokens_); });
    if (reading_.verify_labels && label != value) fail(cat("label is ", label, ", but the expression gives ", value));
    if (reading_.drop_brackets) std::erase(tokens_, kListopsClose);
    set_.append(tokens_, label);
  }

  int read_label(std::string_view text) const {
    int label = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), label);
    if (error == std::errc::invalid_argument || end != text.data() + text.size())
      fail(cat("label ", quoted(text), " is not a number"));
    if (error != std::errc() || label < 0 || label >= kListopsClasses)
      fail(cat("label ", quoted(text), " is out of range, expected 0..9"));
    return label;
  }

  LineReader lines_;
  const ListopsReading& reading_;
  std::vector<Token> tokens_;  // of the current line
  Sequences set_;
};

}  // namespace

Sequences read_listops(const std::filesystem::path& path, const ListopsReading& reading) {
  return ListopsReader(path, reading).run();
}

void write_listops(const std::filesystem::path& path, const Sequences& set) {
  constexpr std::size_t kPiece = 1 << 20;  // bytes given to the system at once
  AtomicFile out(path);
  std::string text = cat(kHeader, "\r\n");
  for (Index i = 0; i < set.size(); ++i) {
    text += cat(listops_text(set.token_list(i)), '\t', set.label(i), "\r\n");
    if (text.size() < kPiece) continue;
    out.write(text);
    text.clear();
  }
  out.write(text);
  out.commit();
}

}  // namespace subquad::lra
