#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/gumbel_noise/cpu.cpp"
#include "subquad/kernels/gumbel_noise/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include "subquad/core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

inline constexpr Index kPositions = 64;  // per task, of one sample and four heads, which share a draw of Philox

// words[4][kPositions]: those of four heads at positions first, first + 1, ..., one head behind the other.
void DrawWords(const PhiloxCounter& start, PhiloxKey key, Index first, Index count, std::uint32_t* words) {
  for (Index n = 0; n < count; ++n) {
    PhiloxCounter counter = start;
    counter[1] = static_cast<std::uint32_t>(first + n);
    const PhiloxCounter drawn = philox4x32(counter, key);
    for (std::size_t h = 0; h < 4; ++h) words[static_cast<Index>(h) * kPositions + n] = drawn[h];
  }
}

// noise[n] = -gamma ln(-ln u[n]), worked out in float64 a vector at a time; there are words for whole vectors.
template <class T>
void NoiseOf(const std::uint32_t* words, Index count, double gamma, T* noise) {
  const hn::ScalableTag<double> d;
  HWY_ALIGN double numbers[kPositions];
  for (Index n = 0; n < kPositions; ++n) numbers[n] = (static_cast<double>(words[n] >> 8) + 0.5) * 0x1p-24;
  for (Index n = 0; n < count; n += static_cast<Index>(hn::Lanes(d))) {
    const auto depth = hn::Neg(hn::Log(d, hn::Load(d, numbers + n)));
    hn::Store(hn::Mul(hn::Set(d, -gamma), hn::Log(d, depth)), d, numbers + n);
  }
  for (Index n = 0; n < count; ++n) noise[n] = static_cast<T>(numbers[n]);
}

}  // namespace

void GumbelNoise(const RandomState& random, const GumbelOptions& options, Tensor& out) {
  const PhiloxKey key = philox_key(random.seed, random.stream);
  const Index now = *random.step.data<Index>();
  const double done = options.fade_steps == 0 ? 0 : static_cast<double>(now) / static_cast<double>(options.fade_steps);
  const double gamma = options.scale * std::max(0.0, 1 - done);
  visit_float("gumbel_noise", out.dtype(), [&]<class T>(Type<T>) {
    T* noise = out.data<T>();
    const Index heads = out.dim(1), positions = out.dim(2), quads = (heads + 3) / 4;
    const Index parts = (positions + kPositions - 1) / kPositions;
    parallel_for(out.dim(0) * quads * parts, 100 * kPositions, [&](Index task) {
      const Index b = task / parts / quads, quad = task / parts % quads, first = task % parts * kPositions;
      const Index count = std::min(kPositions, positions - first);
      const auto sample = static_cast<std::uint32_t>(random.samples.data<Index>()[b]);
      std::uint32_t words[4 * kPositions] = {};
      DrawWords({static_cast<std::uint32_t>(quad), 0, sample, static_cast<std::uint32_t>(now)}, key, first, count,
                words);
      for (Index h = 4 * quad; h < std::min(heads, 4 * quad + 4); ++h)
        NoiseOf(words + h % 4 * kPositions, count, gamma, noise + (b * heads + h) * positions + first);
    });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {

HWY_EXPORT(GumbelNoise);

void cpu::gumbel_noise(const RandomState& random, const GumbelOptions& options, Tensor& out) {
  SUBQUAD_DISPATCH(GumbelNoise)(random, options, out);
}

}  // namespace subquad::kernels
#endif  // HWY_ONCE
