// Texts as Long Range Arena's Text and Retrieval read them: a token per byte, id = byte + 1 (0 is padding), any bytes,
// cut to the first so many. Source: Tay et al., "Long Range Arena" (ICLR 2021), and its input pipelines.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "subquad/examples/lra/tasks/sequences.h"

namespace subquad::lra {

inline constexpr Index kTextVocabulary = 257;
inline constexpr Index kTextLength = 4000;  // LRA's cut of both tasks; its configuration of Text says 1000

inline constexpr Token kFirstTextId = 1;

inline Sequences texts(Index parts = 1) {
  return Sequences(kFirstTextId, parts);
}

// Cuts texts and counts what it did.
class TextCut {
 public:
  explicit TextCut(Index limit) : limit_(limit > 0 ? limit : kTextLength) {}  // bytes; 0: kTextLength

  std::span<const std::uint8_t> operator()(std::string_view text);

  std::string note() const;  // "1526 of 50000 texts (3.1 %) are cut to their first 4000 bytes; 2 are empty"

 private:
  Index limit_;
  Index texts_ = 0;
  Index cut_ = 0;
  Index empty_ = 0;
};

}  // namespace subquad::lra
