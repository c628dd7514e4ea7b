// Pairs of film reviews, told apart by whether both are of one film: real text for models of pairs.
#pragma once

#include "subquad/examples/lra/tasks/imdb.h"
#include "subquad/examples/lra/tasks/texts.h"

namespace subquad::lra {

struct ReviewPair {
  std::size_t first = 0;  // numbers of reviews
  std::size_t second = 0;
};

struct ReviewPairs {
  std::vector<ReviewPair> same;       // two different texts of one film, all pairs different, in random order
  std::vector<ReviewPair> different;  // of two films; number i has the two sentiments of same[i], in their order
};

// `count` pairs of either kind, a pure function of the arguments. The pairs of one film are drawn uniformly from all
// there are. Those of two films put the same reviews together in another way: every review stands as often first, and
// as often second, in one kind as in the other, so that neither sentiment nor anything else about a single review tells
// the kinds apart. Error when there are too few pairs, or too few films to mix.
ReviewPairs draw_pairs(const std::vector<Review>& reviews, Index count, std::uint64_t seed);

}  // namespace subquad::lra
