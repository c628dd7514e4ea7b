// The mask of a dropout, a run of features at a time. Include inside the per-target part of a kernel (after targets.h
// and hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_DROPOUT_KEEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_DROPOUT_KEEP_INL_H_
#undef SUBQUAD_KERNELS_DROPOUT_KEEP_INL_H_
#else
#define SUBQUAD_KERNELS_DROPOUT_KEEP_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <cstring>

#include "subquad/kernels/dropout/keep.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr Index kKeepBlock = 64;  // factors are written in blocks of this many

// How many positions are drawn together: their numbers do not depend on each other, so that one fills the latency of
// another, but AVX2 has no registers for two. 128 numbers take 107 cycles of a Zen 5 instead of 148.
inline constexpr int kKeepRows = HWY_TARGET == HWY_AVX3 ? 2 : 1;

// KeepFactors: factors[r * row + i] = keep(sample, position + r, first + i) ? scale : 0 for r < kRows and i in [0,
// count), as kernels/dropout/dropout.h says. `first` is a multiple of 4; a row of `factors` has room for count rounded
// up to kKeepBlock.
#if HWY_TARGET == HWY_SCALAR

template <int kRows = 1, class T>
void KeepFactors(const cpu::Keep& keep, Index sample, Index position, Index first, Index count, T* factors,
                 Index /*row*/ = 0) {
  static_assert(kRows == 1);
  const auto place = static_cast<std::uint32_t>(position), id = static_cast<std::uint32_t>(keep.samples[sample]);
  for (Index i = 0; i < count; i += 4) {
    const PhiloxCounter words =
        philox4x32({static_cast<std::uint32_t>((first + i) / 4), place, id, keep.step}, keep.key);
    for (const std::uint32_t word : words) *factors++ = word > keep.highest_dropped ? static_cast<T>(keep.scale) : T(0);
  }
}

#else

// The four words of one Philox block per 64-bit lane, each in the lower half; what stands in the upper halves is noise,
// which a product of lower halves never reads.
struct PhiloxLanes {
  hn::Vec<hn::ScalableTag<std::uint64_t>> word[4];
};

HWY_INLINE void PhiloxRound(PhiloxLanes& c, const std::array<std::uint64_t, 2>& key) {
  const hn::ScalableTag<std::uint64_t> d;
  const hn::Repartition<std::uint32_t, decltype(d)> half;
  const auto p0 = hn::MulEven(hn::BitCast(half, c.word[0]), hn::Set(half, 0xD2511F53u));
  const auto p1 = hn::MulEven(hn::BitCast(half, c.word[2]), hn::Set(half, 0xCD9E8D57u));
  c.word[0] = hn::Xor3(hn::ShiftRight<32>(p1), c.word[1], hn::Set(d, key[0]));
  c.word[2] = hn::Xor3(hn::ShiftRight<32>(p0), c.word[3], hn::Set(d, key[1]));
  c.word[1] = p1;
  c.word[3] = p0;
}

// The factors of four words per lane, in the order of the words.
HWY_INLINE void StoreFactors(const PhiloxLanes& c, const cpu::Keep& keep, float* factors) {
  const hn::ScalableTag<std::uint64_t> d;
  const hn::Repartition<std::uint32_t, decltype(d)> half;
  const hn::RebindToFloat<decltype(half)> df;
  const auto pair = [&](int j) HWY_ATTR {  // words j and j + 1 fill one lane, and so do their factors
    const auto words = hn::OddEven(hn::BitCast(half, hn::ShiftLeft<32>(c.word[j + 1])), hn::BitCast(half, c.word[j]));
    const auto kept = hn::Gt(words, hn::Set(half, keep.highest_dropped));
    return hn::BitCast(d, hn::IfThenElseZero(hn::RebindMask(df, kept), hn::Set(df, static_cast<float>(keep.scale))));
  };
  hn::StoreInterleaved2(pair(0), pair(2), d, reinterpret_cast<std::uint64_t*>(factors));
}

HWY_INLINE void StoreFactors(const PhiloxLanes& c, const cpu::Keep& keep, double* factors) {
  const hn::ScalableTag<std::uint64_t> d;
  const hn::RebindToFloat<decltype(d)> df;
  const auto factor = [&](int j) HWY_ATTR {
    const auto word = hn::And(c.word[j], hn::Set(d, 0xffffffffu));
    const auto kept = hn::Gt(word, hn::Set(d, keep.highest_dropped));
    return hn::IfThenElseZero(hn::RebindMask(df, kept), hn::Set(df, keep.scale));
  };
  hn::StoreInterleaved4(factor(0), factor(1), factor(2), factor(3), df, factors);
}

template <int kRows = 1, class T>
void KeepFactors(const cpu::Keep& keep, Index sample, Index position, Index first, Index count, T* factors,
                 Index row = 0) {
  const hn::ScalableTag<std::uint64_t> d;
  constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(d));
  constexpr int kChains = 2;  // of a row
  const auto id = hn::Set(d, static_cast<std::uint32_t>(keep.samples[sample]));
  for (Index i = 0; i < count; i += kChains * 4 * kLanes) {
    PhiloxLanes c[kRows][kChains];
    for (int r = 0; r < kRows; ++r)
      for (int n = 0; n < kChains; ++n)
        c[r][n] = {hn::Add(hn::Set(d, static_cast<std::uint64_t>((first + i) / 4 + n * kLanes)), hn::Iota(d, 0)),
                   hn::Set(d, static_cast<std::uint32_t>(position + r)), id, hn::Set(d, keep.step)};
    for (const auto& key : keep.round_keys)
      for (auto& chains : c)
        for (PhiloxLanes& chain : chains) PhiloxRound(chain, key);
    for (int r = 0; r < kRows; ++r)
      for (int n = 0; n < kChains; ++n) StoreFactors(c[r][n], keep, factors + r * row + i + n * 4 * kLanes);
  }
}

#endif

// Of `rows` rows from `first_row` on, each of which is a position of one of the samples: sample * positions + position.
template <class T>
HWY_INLINE void KeepFactorsOfRows(const cpu::Keep& keep, Index positions, Index first_row, Index rows, Index first,
                                  Index count, T* factors, Index row) {
  Index sample = first_row / positions, position = first_row % positions;
  for (Index r = 0; r < rows;) {
    if (position == positions) {
      ++sample;
      position = 0;
    }
    const bool together = r + kKeepRows <= rows && position + kKeepRows <= positions;
    if (together)
      KeepFactors<kKeepRows>(keep, sample, position, first, count, factors + r * row, row);
    else
      KeepFactors(keep, sample, position, first, count, factors + r * row);
    r += together ? kKeepRows : 1;
    position += together ? kKeepRows : 1;
  }
}

// The bits of a vector of features of a row (KeptBits), from `feature` on, a multiple of the lanes. Stored in the order
// of the features.
template <class D>
HWY_INLINE void StoreKept(D d, hn::Mask<D> kept, std::uint8_t* row, Index feature) {
  constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(D()));
  std::uint8_t bits[8];
  hn::StoreMaskBits(d, kept, bits);
  std::uint8_t* to = row + feature / 8;
  if constexpr (kLanes >= 8)
    std::memcpy(to, bits, kLanes / 8);
  else
    *to = static_cast<std::uint8_t>((feature % 8 == 0 ? 0 : *to) | bits[0] << feature % 8);
}

template <class D>
HWY_INLINE hn::Mask<D> LoadKept(D d, const std::uint8_t* row, Index feature) {
  constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(D()));
  std::uint8_t bits[8] = {};
  std::memcpy(bits, row + feature / 8, kLanes < 8 ? 1 : kLanes / 8);
  if constexpr (kLanes < 8) bits[0] = static_cast<std::uint8_t>(bits[0] >> feature % 8);
  return hn::LoadMaskBits(d, bits);
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
