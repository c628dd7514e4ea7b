// Code that a page quotes: a link to a file of code whose text holds code spans,
//
//   [`chord_chain`](paramixer.cpp)                     a name: the file has it as a whole word
//   [`nn::Paramixer::forward()`](paramixer.cpp)        several names: the file has each of them
//   [`v = add(mixed, v);`](paramixer.cpp)              more than names: the file has it, up to line breaks
//   [`nn/attention/paramixer.h`](paramixer.h)          a file: the one that the link leads to; `paramixer` will do
//
// Comments do not count: a name that only a comment still knows is gone. In a table, | is written \|.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/tests/house/source_tree.h"

namespace subquad::test {

struct Quote {
  std::string code;    // what stands between the backticks
  std::string target;  // where the link leads, as the page spells it
  std::size_t line = 0;
};

// Every code span inside the text of a link of the page to a file of code; what stands in ``` blocks is no link.
std::vector<Quote> quotes(const SourceFile& page);

// The code without its comments (// and /* */).
std::string without_comments(std::string_view code);

// What is wrong with quoting `code` from the file `path` that says `text`; "" when it is there.
std::string misquoted(const std::string& code, const std::filesystem::path& path, const std::string& text);

}  // namespace subquad::test
