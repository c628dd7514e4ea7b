#include "subquad/examples/lra/report/html.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace subquad::lra {

namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

// Bytes of the UTF-8 character that a text begins with; 0 where none does (Unicode 15, table 3-7).
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4 || !follows(1)) return 0;
  if (first < 0xE0) return 2;
  if (!follows(2) || (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
  if (first < 0xF0) return 3;
  if (!follows(3) || (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
  return 4;
}

// U+FFFE and U+FFFF, which are no characters for XML, and the C1 controls.
bool unwanted(std::string_view character) {
  return character == "\xEF\xBF\xBE" || character == "\xEF\xBF\xBF" ||
         (character.size() == 2 && character[0] == '\xC2' && static_cast<unsigned char>(character[1]) < 0xA0);
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = character_bytes(text.substr(at));
    const std::string_view character = text.substr(at, std::max<std::size_t>(bytes, 1));
    at += character.size();
    const char c = character.front();
    const bool control = bytes == 1 && ((c >= 0 && c < ' ' && c != '\t' && c != '\n') || c == 0x7F);
    if (bytes == 0 || control || unwanted(character))
      out += kReplacement;
    else if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += character;
  }
  return out;
}

std::string_view cut_text(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit;
  for (std::size_t back = 0; back < 4 && back < end; ++back) {
    const std::size_t start = limit - back;  // of the character that would be cut, if there is one
    const std::size_t bytes = character_bytes(text.substr(start));
    if (bytes > 0) {
      end = start + bytes <= limit ? limit : start;
      break;
    }
  }
  return text.substr(0, end);
}

std::string base64(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < count ? bytes[at + i] : 0u);
    for (std::size_t i = 0; i < 4; ++i) out += i <= count ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

std::string percent(double share, int digits) {
  if (std::isnan(share)) return "-";
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << 100 * share << " %";
  return out.str();
}

std::string grouped(Index count) {
  std::string digits = std::to_string(count);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  return digits;
}

std::string number_text(double number, int digits) {
  if (std::isnan(number)) return "-";
  std::ostringstream out;
  out << std::setprecision(digits) << number;
  return out.str();
}

}  // namespace subquad::lra
