#include "subquad/examples/lra/tasks/listops.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "subquad/core/parallel.h"
#include "subquad/core/rng.h"
#include "subquad/examples/lra/tasks/lines.h"

namespace subquad::lra {

namespace {

constexpr std::array<std::string_view, kListopsVocabulary> kTexts = {"",  "0", "1", "2",    "3",    "4",    "5",   "6",
                                                                     "7", "8", "9", "[MIN", "[MAX", "[MED", "[SM", "]"};

bool is_digit(Token token) {
  return token >= kListopsZero && token < kListopsMin;
}
bool is_operator(Token token) {
  return token >= kListopsMin && token < kListopsClose;
}

// The arguments that an operator has seen so far: how many of each digit.
struct Frame {
  Token op = 0;
  std::size_t at = 0;  // where the operator stands
  std::array<Index, 10> counts = {};
  Index arguments = 0;

  void add(int digit) {
    ++counts[static_cast<std::size_t>(digit)];
    ++arguments;
  }

  int ranked(Index rank) const {  // the argument of this rank, 0 being the smallest
    int digit = 0;
    while (rank >= counts[static_cast<std::size_t>(digit)]) rank -= counts[static_cast<std::size_t>(digit++)];
    return digit;
  }

  int value() const {
    switch (op) {
      case kListopsMin: return ranked(0);
      case kListopsMax: return ranked(arguments - 1);
      case kListopsMedian: return (ranked((arguments - 1) / 2) + ranked(arguments / 2)) / 2;
      default: break;
    }
    Index sum = 0;
    for (std::size_t digit = 0; digit < counts.size(); ++digit) sum += static_cast<Index>(digit) * counts[digit];
    return static_cast<int>(sum % 10);
  }
};

[[noreturn]] void fail_at(std::size_t at, std::string_view what) {
  throw FormatError(cat("token ", at + 1, ": ", what));
}

// Draws one expression after the other, in LRA's way, until one has an accepted length.
class Sampler {
 public:
  Sampler(std::uint64_t seed, std::uint64_t number, const ListopsLengths& lengths)
      : rng_(seed, stream_id("listops") + number), lengths_(lengths) {}

  std::vector<Token> accepted() {
    constexpr std::size_t kDrawnTokens = 100'000'000;  // some seconds; LRA's bounds need about 4,000
    for (std::size_t drawn = 0; drawn < kDrawnTokens; drawn += tokens_.size() + 1) {
      tokens_.clear();
      const bool complete = draw(1);
      if (complete && static_cast<Index>(tokens_.size()) > lengths_.min_length) return std::move(tokens_);
    }
    throw Error(cat("listops: no expression of more than ", lengths_.min_length, " and less than ", lengths_.max_length,
                    " tokens among ", kDrawnTokens, " drawn tokens"));
  }

 private:
  // False as soon as the expression is too long: it would be rejected anyway.
  bool draw(int depth) {
    constexpr int kDeepest = 10;  // a digit stands there
    if (static_cast<Index>(tokens_.size()) + 1 >= lengths_.max_length) return false;
    if (depth == kDeepest || rng_.uniform() >= 0.25) {
      tokens_.push_back(static_cast<Token>(kListopsZero + rng_.below(10)));
      return true;
    }
    tokens_.push_back(static_cast<Token>(kListopsMin + rng_.below(4)));
    const Index arguments = 2 + rng_.below(9);
    for (Index i = 0; i < arguments; ++i)
      if (!draw(depth + 1)) return false;
    tokens_.push_back(kListopsClose);
    return static_cast<Index>(tokens_.size()) < lengths_.max_length;
  }

  Rng rng_;
  ListopsLengths lengths_;
  std::vector<Token> tokens_;
};

struct Sample {
  std::vector<Token> tokens;
  int value = 0;
};

// Samples 0, 1, 2, ... without repetitions, drawn in parallel a block ahead.
class DistinctSamples {
 public:
  DistinctSamples(std::uint64_t seed, const ListopsLengths& lengths, const std::function<void(Index)>& progress)
      : seed_(seed), lengths_(lengths), progress_(progress) {}

  const Sample& next() {
    for (;; ++used_) {
      if (used_ == block_.size()) draw_block();
      // Two different expressions with one 64-bit hash (chance 1e-9 in a full set) would only cost the second of them.
      if (seen_.insert(hash(block_[used_].tokens)).second) break;
    }
    return block_[used_++];
  }

 private:
  static constexpr Index kBlock = 1024;

  void draw_block() {
    if (first_ > 0 && seen_.size() == seen_before_)
      throw Error(cat("listops: only ", seen_.size(), " different expressions of more than ", lengths_.min_length,
                      " and less than ", lengths_.max_length, " tokens came up"));
    if (progress_) progress_(static_cast<Index>(seen_.size()));
    seen_before_ = seen_.size();
    block_.resize(kBlock);
    draw(0);  // bounds that cannot be met fail here once instead of for every sample
    parallel_for(kBlock - 1, 100'000, [&](Index i) { draw(static_cast<std::size_t>(i) + 1); });
    first_ += kBlock;
    used_ = 0;
  }

  void draw(std::size_t i) {
    block_[i].tokens = sample_listops(seed_, first_ + i, lengths_);
    block_[i].value = evaluate_listops(block_[i].tokens);
  }

  static std::uint64_t hash(const std::vector<Token>& tokens) {
    return stream_id({reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(Token)});
  }

  std::uint64_t seed_;
  ListopsLengths lengths_;
  const std::function<void(Index)>& progress_;
  std::vector<Sample> block_;
  std::size_t used_ = 0;     // of the block
  std::uint64_t first_ = 0;  // number of the sample after the block
  std::unordered_set<std::uint64_t> seen_;
  std::size_t seen_before_ = 0;  // when the block was drawn
};

}  // namespace

std::string_view listops_token_text(Token token) {
  return token < kTexts.size() ? kTexts[token] : "";
}

Token listops_token(std::string_view text) {
  if (text.size() == 1 && text[0] >= '0' && text[0] <= '9') return static_cast<Token>(kListopsZero + (text[0] - '0'));
  const auto found = std::find(kTexts.begin() + 1, kTexts.end(), text);
  return found == kTexts.end() ? Token{0} : static_cast<Token>(found - kTexts.begin());
}

std::vector<Token> parse_listops(std::string_view text) {
  std::vector<Token> tokens;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word.empty() || word == "(" || word == ")") continue;
    const Token token = listops_token(word);
    if (token == 0) fail_at(tokens.size(), cat(quoted(word), " is no token of listops"));
    tokens.push_back(token);
  }
  return tokens;
}

int evaluate_listops(std::span<const Token> tokens) {
  std::vector<Frame> open;
  for (std::size_t at = 0; at < tokens.size(); ++at) {
    int value = 0;
    if (is_operator(tokens[at])) {
      open.push_back({tokens[at], at});
      continue;
    }
    if (is_digit(tokens[at])) {
      value = tokens[at] - kListopsZero;
    } else if (tokens[at] == kListopsClose) {
      if (open.empty()) fail_at(at, "] closes nothing");
      if (open.back().arguments == 0) fail_at(at, cat(kTexts[open.back().op], " has no arguments"));
      value = open.back().value();
      open.pop_back();
    } else {
      fail_at(at, cat("id ", tokens[at], " is no token of listops"));
    }
    if (open.empty()) {
      if (at + 1 != tokens.size()) fail_at(at + 1, "the expression has already ended");
      return value;
    }
    open.back().add(value);
  }
  if (open.empty()) fail_at(0, "there is no expression");
  fail_at(open.back().at, cat(kTexts[open.back().op], " is never closed"));
}

std::string listops_text(std::span<const Token> tokens) {
  std::vector<Index> arguments(tokens.size());  // of the operator that stands there
  std::vector<std::size_t> open;
  for (std::size_t at = 0; at < tokens.size(); ++at) {
    if (tokens[at] == kListopsClose)
      open.pop_back();
    else if (!open.empty())
      ++arguments[open.back()];
    if (is_operator(tokens[at])) open.push_back(at);
  }

  std::string out;
  for (std::size_t at = 0; at < tokens.size(); ++at) {
    if (is_operator(tokens[at])) {
      for (Index i = 0; i <= arguments[at]; ++i) out += "( ";
      open.push_back(at);
    } else if (tokens[at] == kListopsClose) {
      open.pop_back();
    }
    out += kTexts[tokens[at]];
    if (tokens[at] == kListopsClose) out += " )";
    if (!is_operator(tokens[at]) && !open.empty()) out += " )";  // an argument is complete
    if (at + 1 != tokens.size()) out += ' ';
  }
  return out;
}

std::vector<Token> sample_listops(std::uint64_t seed, std::uint64_t number, const ListopsLengths& lengths) {
  if (lengths.max_length - lengths.min_length < 2)
    throw Error(cat("listops: no length is more than ", lengths.min_length, " and less than ", lengths.max_length));
  return Sampler(seed, number, lengths).accepted();
}

std::vector<Sequences> generate_listops(std::uint64_t seed, const std::vector<Index>& counts,
                                        const ListopsLengths& lengths, const std::function<void(Index)>& progress) {
  DistinctSamples samples(seed, lengths, progress);
  std::vector<Sequences> sets(counts.size());
  for (std::size_t s = 0; s < counts.size(); ++s) {
    while (sets[s].size() < counts[s]) {
      const Sample& sample = samples.next();
      sets[s].append(sample.tokens, sample.value);
    }
  }
  return sets;
}

}  // namespace subquad::lra
