// A labelled set of token sequences, or of pairs of them, stored end to end with a byte per token.
#pragma once

#include <cstdint>
#include <ranges>
#include <span>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::lra {

using Token = std::uint16_t;

class Sequences {
 public:
  // A token's id is `first_id` plus the byte that is stored: 1 for text, whose ids leave 0 to padding. Whether a
  // position is real is told by a sequence's length, never by an id. A sample has `parts` sequences, 1 or 2.
  explicit Sequences(Token first_id = 0, Index parts = 1) : first_id_(first_id), parts_(parts) {}

  Index size() const { return static_cast<Index>(labels_.size()); }
  Index parts() const { return parts_; }
  std::int64_t label(Index i) const { return labels_[static_cast<std::size_t>(i)]; }

  std::span<const std::uint8_t> bytes(Index i, Index part = 0) const {
    const auto at = static_cast<std::size_t>(i * parts_ + part);
    return std::span(bytes_).subspan(starts_[at], starts_[at + 1] - starts_[at]);
  }
  auto tokens(Index i, Index part = 0) const {  // a range of Token
    return bytes(i, part) |
           std::views::transform([first = first_id_](std::uint8_t byte) { return static_cast<Token>(first + byte); });
  }
  std::vector<Token> token_list(Index i, Index part = 0) const {
    const auto range = tokens(i, part);
    return {range.begin(), range.end()};
  }
  Index length(Index i, Index part) const { return static_cast<Index>(bytes(i, part).size()); }
  Index length(Index i) const;       // of the longest part
  Index token_count(Index i) const;  // of all parts
  Index token_count() const { return static_cast<Index>(bytes_.size()); }
  Index longest() const;

  // Of the samples as they stand, `count` drawn at random, in the same order: always the same ones. Error when there
  // are not so many.
  Sequences drawn(Index count) const;

  // 64-bit FNV-1a over lengths, tokens and labels: tells whether two runs saw the same data.
  std::uint64_t hash() const;

  void reserve(Index samples, Index tokens);
  // Error unless there are parts() of them.
  void append_bytes(std::initializer_list<std::span<const std::uint8_t>> parts, std::int64_t label);
  void append(std::span<const Token> tokens, std::int64_t label);  // Error when an id cannot be stored

 private:
  Token first_id_;
  Index parts_;
  std::vector<std::uint8_t> bytes_;
  std::vector<std::size_t> starts_ = {0};  // sequence i is bytes_[starts_[i]] up to bytes_[starts_[i + 1]]
  std::vector<std::int64_t> labels_;
};

}  // namespace subquad::lra
