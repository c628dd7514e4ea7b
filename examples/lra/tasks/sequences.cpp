#include "subquad/examples/lra/tasks/sequences.h"

#include <algorithm>

#include "subquad/core/error.h"
#include "subquad/core/rng.h"

namespace subquad::lra {

Index Sequences::length(Index i) const {
  Index longest = 0;
  for (Index part = 0; part < parts_; ++part) longest = std::max(longest, length(i, part));
  return longest;
}

Index Sequences::token_count(Index i) const {
  Index count = 0;
  for (Index part = 0; part < parts_; ++part) count += length(i, part);
  return count;
}

Index Sequences::longest() const {
  Index longest = 0;
  for (Index i = 0; i < size(); ++i) longest = std::max(longest, length(i));
  return longest;
}

Sequences Sequences::drawn(Index count) const {
  if (count > size()) throw Error(cat("Sequences: ", count, " samples, expected at most the ", size(), " there are"));
  Sequences out(first_id_, parts_);
  Rng rng(0, stream_id("drawn samples"));
  for (Index i = 0; i < size(); ++i) {  // Knuth's algorithm S: each set of `count` is as likely as any other
    if (rng.below(size() - i) >= count - out.size()) continue;
    for (Index part = 0; part < parts_; ++part) {
      const std::span<const std::uint8_t> sequence = bytes(i, part);
      out.bytes_.insert(out.bytes_.end(), sequence.begin(), sequence.end());
      out.starts_.push_back(out.bytes_.size());
    }
    out.labels_.push_back(label(i));
  }
  return out;
}

std::uint64_t Sequences::hash() const {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto mix = [&](std::uint64_t word) { hash = (hash ^ word) * 0x100000001b3u; };
  for (Index i = 0; i < size(); ++i) {
    for (Index part = 0; part < parts_; ++part) {
      mix(static_cast<std::uint64_t>(length(i, part)));
      for (const Token token : tokens(i, part)) mix(token);
    }
    mix(static_cast<std::uint64_t>(label(i)));
  }
  return hash;
}

void Sequences::reserve(Index samples, Index tokens) {
  labels_.reserve(static_cast<std::size_t>(samples));
  starts_.reserve(static_cast<std::size_t>(samples * parts_) + 1);
  bytes_.reserve(static_cast<std::size_t>(tokens));
}

void Sequences::append_bytes(std::initializer_list<std::span<const std::uint8_t>> parts, std::int64_t label) {
  if (static_cast<Index>(parts.size()) != parts_)
    throw Error(cat("Sequences: a sample of ", parts.size(), " sequences, expected ", parts_));
  for (const std::span<const std::uint8_t> part : parts) {
    bytes_.insert(bytes_.end(), part.begin(), part.end());
    starts_.push_back(bytes_.size());
  }
  labels_.push_back(label);
}

void Sequences::append(std::span<const Token> tokens, std::int64_t label) {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(tokens.size());
  for (const Token token : tokens) {
    if (token < first_id_ || token - first_id_ > 255)
      throw Error(cat("Sequences: token ", token, ", expected ", first_id_, "..", first_id_ + 255));
    bytes.push_back(static_cast<std::uint8_t>(token - first_id_));
  }
  append_bytes({bytes}, label);
}

}  // namespace subquad::lra
