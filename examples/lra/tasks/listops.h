// ListOps as Long Range Arena samples it: nested operators over lists of digits, such as [MAX 2 9 [MIN 4 7 ] 0 ]; the
// label is the value, 0..9. This file is the language: tokens, value, text, random expressions. Files: listops_tsv.h.
// Source: Tay et al., "Long Range Arena" (ICLR 2021), and its data generator listops.py.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/examples/lra/tasks/sequences.h"

namespace subquad::lra {

// Ids: 0 is padding, the digits 0..9 are 1..10.
inline constexpr Token kListopsZero = 1;
inline constexpr Token kListopsMin = 11;
inline constexpr Token kListopsMax = 12;
inline constexpr Token kListopsMedian = 13;
inline constexpr Token kListopsSumMod = 14;
inline constexpr Token kListopsClose = 15;
inline constexpr Index kListopsVocabulary = 16;
inline constexpr Index kListopsClasses = 10;

// "7", "[MIN", "[MAX", "[MED", "[SM", "]"; "" for padding and ids that are none.
std::string_view listops_token_text(Token token);
Token listops_token(std::string_view text);  // 0 when the text is no token

// Words with a space between them; parentheses are left out, for they say nothing that the brackets do not. FormatError
// naming the place (the first token is 1) of a word that is no token.
std::vector<Token> parse_listops(std::string_view text);

// Minimum; maximum; median, for an even count the mean of the two middle values, rounded down; sum modulo 10. Operators
// take one argument or more. FormatError naming the place (the first token is 1) when the tokens are not exactly one
// closed expression. Nesting may be as deep as memory allows.
int evaluate_listops(std::span<const Token> tokens);

// The text of LRA's files: every operator is a left-nested chain of two-place applications,
// "( ( ( [MAX 2 ) 9 ) ] )". The parentheses say nothing that the brackets do not. The tokens are one closed expression.
std::string listops_text(std::span<const Token> tokens);

// Both bounds are exclusive, as in LRA: min_length < number of tokens < max_length.
struct ListopsLengths {
  Index min_length = 500;
  Index max_length = 2000;
};

// Random expression `number` of a seed, a pure function of the arguments. LRA's distribution: a node is an operator
// with probability 1/4 (never at depth 10; the root has depth 1) with 2..10 arguments, else a digit; all choices are
// uniform, and expressions whose length is out of bounds are drawn again. Error when no length within the bounds comes
// up.
std::vector<Token> sample_listops(std::uint64_t seed, std::uint64_t number, const ListopsLengths& lengths);

// One set of `counts[i]` labelled expressions after the other: samples 0, 1, 2, ... without those that came before, so
// the sets are disjoint and without duplicates. The same for any number of threads. `progress` is told now and then how
// many there are. Error when the bounds leave too few different expressions.
std::vector<Sequences> generate_listops(std::uint64_t seed, const std::vector<Index>& counts,
                                        const ListopsLengths& lengths, const std::function<void(Index)>& progress = {});

}  // namespace subquad::lra
