#include "subquad/examples/lra/sequences.h"

#include <algorithm>

namespace subquad::lra {

Index Sequences::longest() const {
  Index longest = 0;
  for (Index i = 0; i < size(); ++i) longest = std::max(longest, length(i));
  return longest;
}

std::uint64_t Sequences::hash() const {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto mix = [&](std::uint64_t word) { hash = (hash ^ word) * 0x100000001b3u; };
  for (Index i = 0; i < size(); ++i) {
    mix(static_cast<std::uint64_t>(length(i)));
    for (const Token token : tokens(i)) mix(token);
    mix(static_cast<std::uint64_t>(label(i)));
  }
  return hash;
}

void Sequences::append(std::span<const Token> tokens, std::int64_t label) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  starts_.push_back(tokens_.size());
  labels_.push_back(label);
}

}  // namespace subquad::lra
