// What the forward and backward of block_attention share. Include inside the per-target part of a kernel.
#if defined(SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_INL_H_
#undef SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_INL_H_
#else
#define SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_INL_H_
#endif

#include <hwy/cache_control.h>

#include <limits>
#include <optional>

#include "subquad/kernels/attention/online-inl.h"
#include "subquad/kernels/block_attention/sight.h"
#include "subquad/kernels/dropout/keep.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// Numbers on a cache line that are used again line after line: a buffer that grows where it must.
template <class T>
class Scratch {
 public:
  T* of(Index count) {
    if (count > buffer_.size()) buffer_ = Buffer<T>(count);
    return buffer_.data();
  }

 private:
  Buffer<T> buffer_{0};
};

template <class T>
struct Tables {  // 0: tokens; 1, 2, ...: summaries
  std::vector<View<const T, 4>> k, v;

  Tables(const Tensor& tokens_k, const Tensor& tokens_v, const std::vector<Summaries>& summaries) {
    k.push_back(tokens_k.view<const T, 4>());
    v.push_back(tokens_v.view<const T, 4>());
    for (const Summaries& table : summaries) {
      k.push_back(table.k.view<const T, 4>());
      v.push_back(table.v.view<const T, 4>());
    }
  }
};

template <class T>
HWY_INLINE const T* RowOf(const std::vector<View<const T, 4>>& tables, Index b, Index h, const Entry& entry) {
  return &tables[static_cast<std::size_t>(entry.table)](b, h, entry.row, 0);
}

// packed [entries][whole vectors]: the rows of a line's entries.
template <class T>
T* PackEntries(const std::vector<View<const T, 4>>& tables, Index b, Index h, const Line& line, Scratch<T>& memory) {
  const Index width = tables[0].dim(3), padded_width = WholeVectors<T>(width);
  T* const packed = memory.of(static_cast<Index>(line.entries.size()) * padded_width);
  T* to = packed;
  for (const Entry& entry : line.entries) {
    const T* from = RowOf(tables, b, h, entry);
    FetchAhead(from, line.to_next_of(entry) * tables[static_cast<std::size_t>(entry.table)].stride(2), width);
    PackRow(from, width, T(1), to);
    to += padded_width;
  }
  return packed;
}

// Neighbouring queries of a line, one to a lane.
template <class T>
struct Strip {
  std::span<const Index> positions;
  Index first, count;              // of the line's queries
  Index lowest, highest;           // number that a query has
  HWY_ALIGN T numbers[kStrip<T>];  // lanes behind the last have that one's

  Strip(const Line& line, Index from)
      : first(from), count(std::min(kStrip<T>, static_cast<Index>(line.positions.size()) - from)) {
    const auto begin = static_cast<std::size_t>(first), size = static_cast<std::size_t>(count);
    positions = std::span<const Index>(line.positions).subspan(begin, size);
    lowest = line.numbers[begin];
    highest = line.numbers[begin + size - 1];
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(kStrip<T>); ++lane)
      numbers[lane] = static_cast<T>(line.numbers[begin + std::min(lane, size - 1)]);
  }
  bool fills_one_vector() const { return count <= kLanes<T>; }
};

// f(entries, begin, count) for the entries of a line, a block at a time, from the first that a query of the strip sees
// to the last. Blocks that none of them sees are left out.
template <class T, class F>
HWY_INLINE void ForBlocks(const std::vector<Entry>& entries, const Strip<T>& strip, const F& f) {
  Index begin = 0, end = static_cast<Index>(entries.size());
  const auto blind = [&](Index e) {
    return entries[static_cast<std::size_t>(e)].seen_by_none(strip.lowest, strip.highest);
  };
  while (begin < end && blind(begin)) ++begin;
  while (begin < end && blind(end - 1)) --end;
  for (; begin < end; begin += kBlock) {
    const Index count = std::min(kBlock, end - begin);
    Index e = begin;
    while (e < begin + count && blind(e)) ++e;
    if (e < begin + count) f(entries.data() + begin, begin, count);
  }
}

// Rows of the block are entries; lanes whose query does not see one get -inf.
template <class T>
HWY_INLINE void HideEntries(const Entry* entries, Index count, const Strip<T>& strip, T* block) {
  const Vector<T> d;
  const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
  for (Index e = 0; e < count; ++e) {
    if (entries[e].seen_by_all(strip.lowest, strip.highest)) continue;
    const auto low = hn::Set(d, static_cast<T>(entries[e].low)), high = hn::Set(d, static_cast<T>(entries[e].high));
    for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
      const auto u = hn::Load(d, strip.numbers + lane);
      const auto inside = hn::And(hn::Ge(u, low), hn::Lt(u, high));
      T* to = block + e * kStrip<T> + lane;
      const auto logit = hn::Load(d, to);
      const auto kept =
          entries[e].inverted ? hn::IfThenElse(inside, nothing, logit) : hn::IfThenElse(inside, logit, nothing);
      hn::Store(kept, d, to);
    }
  }
}

// The dropout of direct weights.
class DirectDropout {
 public:
  DirectDropout(const BlockAttentionOptions& options, Index heads) : heads_(heads) {
    if (options.dropout > 0) keep_.emplace(options.dropout, options.random);
  }
  bool active() const { return keep_.has_value(); }

  // What the weight that position i of sample b, head h, has for an entry is multiplied by.
  double factor(Index b, Index h, Index i, const Entry& entry) const {
    if (entry.table != 0) return 1;
    const auto feature = static_cast<std::uint32_t>(entry.row);
    const PhiloxCounter words = philox4x32({feature / 4, static_cast<std::uint32_t>(i * heads_ + h),
                                            static_cast<std::uint32_t>(keep_->samples[b]), keep_->step},
                                           keep_->key);
    return words[feature % 4] > keep_->highest_dropped ? keep_->scale : 0;
  }

 private:
  std::optional<cpu::Keep> keep_;
  Index heads_;
};

template <class T>
void DropEntries(const DirectDropout& dropout, Index b, Index h, std::span<const Index> positions, const Entry* entries,
                 Index count, T* block) {
  for (Index e = 0; e < count; ++e)
    for (std::size_t lane = 0; lane < positions.size(); ++lane)
      block[e * kStrip<T> + static_cast<Index>(lane)] *=
          static_cast<T>(dropout.factor(b, h, positions[lane], entries[e]));
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
