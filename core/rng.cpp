#include "subquad/core/rng.h"

#include <cmath>
#include <numbers>

#include "subquad/core/check.h"
#include "subquad/core/parallel.h"

namespace subquad {

PhiloxKey philox_key(std::uint64_t seed, std::uint64_t stream) {
  const PhiloxCounter mixed =
      philox4x32({static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32), 0, 0},
                 {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return {mixed[0], mixed[1]};
}

RandomState RandomState::with_stream(std::uint64_t s) const {
  RandomState out = *this;
  out.stream = s;
  return out;
}

Rng::Rng(std::uint64_t seed, std::uint64_t stream) : key_(philox_key(seed, stream)) {}

std::uint32_t Rng::next_u32() {
  if (used_ == 4) {
    words_ = philox4x32({static_cast<std::uint32_t>(block_), static_cast<std::uint32_t>(block_ >> 32), 0, 0}, key_);
    ++block_;
    used_ = 0;
  }
  return words_[static_cast<std::size_t>(used_++)];
}

std::uint64_t Rng::next_u64() {
  const std::uint64_t low = next_u32();
  return low | std::uint64_t{next_u32()} << 32;
}

double Rng::uniform() {
  return static_cast<double>(next_u64() >> 11) * 0x1p-53;
}

double Rng::uniform(double low, double high) {
  return low + (high - low) * uniform();
}

Index Rng::below(Index count) {
  if (count < 1) throw Error(cat("Rng::below: count is ", count, ", expected at least 1"));
  const auto range = static_cast<std::uint64_t>(count);
  const std::uint64_t unbiased = std::uint64_t(-1) - std::uint64_t(-1) % range;  // a multiple of range
  std::uint64_t draw = next_u64();
  while (draw >= unbiased) draw = next_u64();
  return static_cast<Index>(draw % range);
}

namespace {

// One normal number from two 32-bit words (Box-Muller).
double normal_from(std::uint32_t a, std::uint32_t b) {
  const double radius = std::sqrt(-2 * std::log((a + 0.5) * 0x1p-32));
  return radius * std::cos(2 * std::numbers::pi * (b + 0.5) * 0x1p-32);
}

// out[i] = draw(words of counter i), drawn on the CPU for every device: the same bits everywhere
template <class Draw>
void fill_with(const char* op, Tensor& out, std::uint64_t seed, std::uint64_t stream, Draw draw) {
  check_float(op, "out", out);
  check_contiguous(op, "out", out);
  if (!out.device().is_cpu()) {
    Tensor drawn = empty(out.shape(), out.dtype(), kCpu);
    fill_with(op, drawn, seed, stream, draw);
    return copy(drawn, out);
  }
  const PhiloxKey key = philox_key(seed, stream);
  visit_float(op, out.dtype(), [&]<class T>(Type<T>) {
    T* target = out.data<T>();
    parallel_chunks(out.size(), 1024, 100, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        const PhiloxCounter words =
            philox4x32({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), 0, 0}, key);
        target[i] = static_cast<T>(draw(words));
      }
    });
  });
  out.bump_version();
}

}  // namespace

double Rng::normal() {
  const std::uint32_t a = next_u32();
  return normal_from(a, next_u32());
}

void fill_uniform(Tensor& out, double low, double high, std::uint64_t seed, std::uint64_t stream) {
  fill_with("fill_uniform", out, seed, stream,
            [=](const PhiloxCounter& words) { return low + (high - low) * (words[0] + 0.5) * 0x1p-32; });
}

void fill_normal(Tensor& out, double mean, double deviation, std::uint64_t seed, std::uint64_t stream) {
  fill_with("fill_normal", out, seed, stream,
            [=](const PhiloxCounter& words) { return mean + deviation * normal_from(words[0], words[1]); });
}

}  // namespace subquad
