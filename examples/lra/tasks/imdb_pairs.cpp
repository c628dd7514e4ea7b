#include "subquad/examples/lra/tasks/imdb_pairs.h"

#include <array>
#include <map>
#include <set>

#include "subquad/core/error.h"
#include "subquad/core/rng.h"

namespace subquad::lra {

namespace {

std::vector<ReviewPair> pairs_of_one_film(const std::vector<Review>& reviews) {
  std::map<std::uint64_t, std::vector<std::size_t>> films;
  for (std::size_t i = 0; i < reviews.size(); ++i) films[reviews[i].film].push_back(i);
  std::vector<ReviewPair> pairs;
  for (const auto& [film, members] : films)
    for (std::size_t a = 0; a < members.size(); ++a)
      for (std::size_t b = a + 1; b < members.size(); ++b)
        if (reviews[members[a]].text != reviews[members[b]].text) pairs.push_back({members[a], members[b]});
  return pairs;
}

// The first `count` of a random order, each pair either way round.
void keep_some(std::vector<ReviewPair>& pairs, Index count, Rng& rng) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    std::swap(pairs[i], pairs[i + static_cast<std::size_t>(rng.below(std::ssize(pairs) - static_cast<Index>(i)))]);
    if (rng.below(2) == 1) std::swap(pairs[i].first, pairs[i].second);
  }
  pairs.resize(static_cast<std::size_t>(count));
}

// Gives the second reviews of some pairs to each other until no pair is of one film and none comes twice.
class Mixer {
 public:
  Mixer(const std::vector<Review>& reviews, std::vector<ReviewPair>& pairs, Rng& rng)
      : reviews_(reviews), pairs_(pairs), rng_(rng) {}

  // Of the pairs with these numbers, whose sentiments are the same.
  void mix(const std::vector<std::size_t>& group) {
    for (std::size_t i = group.size(); i > 1; --i)
      std::swap(pairs_[group[i - 1]].second, pairs_[group[below(i)]].second);
    taken_.clear();
    for (const std::size_t pair : group) ++taken_[key(pair)];
    for (const std::size_t pair : group) {
      constexpr int kTries = 10'000;
      int tries = 0;
      while (!good(pair) && tries++ < kTries) exchange(pair, group[below(group.size())]);
      if (!good(pair))
        throw Error("imdb-pairs: too few films to put their reviews together as pairs of different films");
    }
  }

 private:
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(rng_.below(static_cast<Index>(count))); }
  std::pair<std::size_t, std::size_t> key(std::size_t pair) const { return {pairs_[pair].first, pairs_[pair].second}; }
  bool good(std::size_t pair) const {
    const auto [first, second] = key(pair);
    return reviews_[first].film != reviews_[second].film && taken_.at({first, second}) == 1;
  }

  // Only when it spoils nothing: a good pair stays good.
  void exchange(std::size_t a, std::size_t b) {
    if (a == b) return;
    const bool was_good = good(b);
    swap_seconds(a, b);
    if (was_good && !good(b)) swap_seconds(a, b);
  }
  void swap_seconds(std::size_t a, std::size_t b) {
    --taken_[key(a)];
    --taken_[key(b)];
    std::swap(pairs_[a].second, pairs_[b].second);
    ++taken_[key(a)];
    ++taken_[key(b)];
  }

  const std::vector<Review>& reviews_;
  std::vector<ReviewPair>& pairs_;
  Rng& rng_;
  std::map<std::pair<std::size_t, std::size_t>, int> taken_;  // how often a pair of reviews stands in the group
};

}  // namespace

ReviewPairs draw_pairs(const std::vector<Review>& reviews, Index count, std::uint64_t seed) {
  Rng rng(seed, stream_id("pairs of reviews"));
  ReviewPairs pairs;
  pairs.same = pairs_of_one_film(reviews);
  if (std::ssize(pairs.same) < count)
    throw Error(cat("imdb-pairs: the ", reviews.size(), " reviews have ", pairs.same.size(),
                    " pairs of one film with different texts, expected at least ", count));
  keep_some(pairs.same, count, rng);

  std::array<std::vector<std::size_t>, 4> groups;  // by the two sentiments
  for (std::size_t i = 0; i < pairs.same.size(); ++i)
    groups[(reviews[pairs.same[i].first].positive ? 2u : 0u) + (reviews[pairs.same[i].second].positive ? 1u : 0u)]
        .push_back(i);
  pairs.different = pairs.same;
  Mixer mixer(reviews, pairs.different, rng);
  for (const std::vector<std::size_t>& group : groups) mixer.mix(group);
  return pairs;
}

}  // namespace subquad::lra
