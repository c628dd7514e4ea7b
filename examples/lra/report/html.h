// Pieces of the page of a run. All of it is HTML that an XML parser reads as well.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "subquad/core/shape.h"

namespace subquad::lra {

// Text as it is shown, in an element or in an attribute between double quotes. What is no UTF-8, and control characters
// but for tab and line feed, become U+FFFD, the replacement character.
std::string escaped(std::string_view text);

// The first `limit` bytes at most, without the half of a UTF-8 character at the end.
std::string_view cut_text(std::string_view text, std::size_t limit);

std::string base64(std::span<const std::uint8_t> bytes);

std::string percent(double share, int digits = 2);       // "45.30 %"; "-" for a NaN, as below
std::string grouped(Index count);                        // "25,000"
std::string number_text(double number, int digits = 4);  // significant ones: "0.0001234", "1.5e-07"

}  // namespace subquad::lra
