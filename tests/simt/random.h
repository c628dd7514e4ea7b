// The order of threads and blocks.
#pragma once

#include <bit>
#include <cstdint>

namespace simt {

class Random {  // splitmix64
 public:
  explicit Random(std::uint64_t seed = 0) : state_(seed) {}

  std::uint64_t operator()() {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
  std::uint64_t below(std::uint32_t limit) { return ((*this)() >> 32) * limit >> 32; }

 private:
  std::uint64_t state_;
};

// The place of a bit that is set in `mask`, which is not 0: the first one from a random place on.
inline int draw_bit(unsigned mask, unsigned random) {
  const int turn = static_cast<int>(random % 32);
  return (std::countr_zero(std::rotr(mask, turn)) + turn) % 32;
}

}  // namespace simt
