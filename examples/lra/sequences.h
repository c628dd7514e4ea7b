// A labelled set of token sequences, stored end to end.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::lra {

using Token = std::uint16_t;  // 0 is padding and never stands inside a sequence

class Sequences {
 public:
  Index size() const { return static_cast<Index>(labels_.size()); }
  std::span<const Token> tokens(Index i) const {
    const auto at = static_cast<std::size_t>(i);
    return std::span(tokens_).subspan(starts_[at], starts_[at + 1] - starts_[at]);
  }
  Index length(Index i) const { return static_cast<Index>(tokens(i).size()); }
  std::int64_t label(Index i) const { return labels_[static_cast<std::size_t>(i)]; }
  Index longest() const;

  // 64-bit FNV-1a over lengths, tokens and labels: tells whether two runs saw the same data.
  std::uint64_t hash() const;

  void append(std::span<const Token> tokens, std::int64_t label);

 private:
  std::vector<Token> tokens_;
  std::vector<std::size_t> starts_ = {0};  // sequence i is tokens_[starts_[i]] up to tokens_[starts_[i + 1]]
  std::vector<std::int64_t> labels_;
};

}  // namespace subquad::lra
