#include "subquad/examples/lra/report/crc32c.h"

#include <array>

namespace subquad::lra {

namespace {

// What each value of the register's low byte adds when it is shifted out; bits are reflected, lowest first.
constexpr std::array<std::uint32_t, 256> kTable = [] {
  constexpr std::uint32_t kReflectedPolynomial = 0x82F63B78;
  std::array<std::uint32_t, 256> table = {};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? kReflectedPolynomial : 0);
    table[byte] = rest;
  }
  return table;
}();

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t rest = ~std::uint32_t{0};
  for (const char byte : bytes) rest = (rest >> 8) ^ kTable[(rest ^ static_cast<std::uint8_t>(byte)) & 0xFF];
  return ~rest;
}

}  // namespace subquad::lra
