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

// Entries of a line whose rows of keys and values stand one behind the other: where they lie, or packed.
template <class T>
struct Run {
  Index begin, end;  // of the line's entries
  const T *k, *v;    // of entry `begin`
  Index k_row, v_row;
  bool in_place;
  bool sums_in_place = false;  // backward: are gradients added where they belong?
  T *dk = nullptr, *dv = nullptr;
  Index dk_row = 0, dv_row = 0;
};

// So many neighbouring rows are worth a product of their own.
inline constexpr Index kLongRun = 8;

// f(begin, end, is_run) for a line's entries: neighbouring rows of one table, as many as pass same_place(one, next),
// and what is left in between.
template <class Same, class F>
void CutIntoRuns(const std::vector<Entry>& entries, const Same& same_place, const F& f) {
  const Index count = static_cast<Index>(entries.size());
  Index left = 0;  // first of those that are not in a run
  for (Index begin = 0, end; begin < count; begin = end) {
    for (end = begin + 1; end < count; ++end) {
      const Entry &one = entries[static_cast<std::size_t>(end - 1)], &next = entries[static_cast<std::size_t>(end)];
      if (next.table != one.table || next.row != one.row + 1 || !same_place(one, next)) break;
    }
    if (end - begin < kLongRun) continue;
    if (left < begin) f(left, begin, false);
    f(begin, end, true);
    left = end;
  }
  if (left < count) f(left, count, false);
}

// Rows of entries [begin, end), packed [entries][whole vectors]. Those of the next line are asked for.
template <class T>
const T* PackEntries(const std::vector<View<const T, 4>>& tables, Index b, Index h, const Line& line, Index begin,
                     Index end, T* packed) {
  const Index width = tables[0].dim(3), padded_width = WholeVectors<T>(width);
  T* to = packed;
  for (Index e = begin; e < end; ++e) {
    const Entry& entry = line.entries[static_cast<std::size_t>(e)];
    const T* from = RowOf(tables, b, h, entry);
    FetchAhead(from, line.to_next_of(entry) * tables[static_cast<std::size_t>(entry.table)].stride(2), width);
    PackRow(from, width, T(1), to);
    to += padded_width;
  }
  return packed;
}

// The rows of entries [begin, end) where they lie.
template <class T>
const T* FindEntries(const std::vector<View<const T, 4>>& tables, Index b, Index h, const Line& line, Index begin,
                     Index end) {
  const Entry& first = line.entries[static_cast<std::size_t>(begin)];
  const View<const T, 4>& table = tables[static_cast<std::size_t>(first.table)];
  const T* rows = RowOf(tables, b, h, first);
  const Index to_next = line.to_next_of(first);
  for (Index e = begin; to_next > 0 && e < end; ++e)
    FetchAhead(rows, (e - begin + to_next) * table.stride(2), table.dim(3));
  return rows;
}

// The runs of a line. One strip of queries does not repay packing long ones; of several, packed rows fill L1 evenly,
// where rows that stand a power of two apart share half of its sets or less.
template <class T, class Same>
void FindRuns(const Tables<T>& tables, Index b, Index h, const Line& line, Scratch<T>& k, Scratch<T>& v,
              const Same& same_place, std::vector<Run<T>>& runs) {
  const Index count = static_cast<Index>(line.entries.size());
  const Index k_row = WholeVectors<T>(tables.k[0].dim(3)), v_row = WholeVectors<T>(tables.v[0].dim(3));
  T *const packed_k = k.of(count * k_row), *const packed_v = v.of(count * v_row);
  runs.clear();
  const auto pack = [&](Index begin, Index end) {
    runs.push_back({begin, end, PackEntries(tables.k, b, h, line, begin, end, packed_k + begin * k_row),
                    PackEntries(tables.v, b, h, line, begin, end, packed_v + begin * v_row), k_row, v_row, false});
  };
  if (static_cast<Index>(line.positions.size()) > kStrip<T>) return pack(0, count);
  CutIntoRuns(line.entries, same_place, [&](Index begin, Index end, bool is_run) {
    if (!is_run) return pack(begin, end);
    const auto table = static_cast<std::size_t>(line.entries[static_cast<std::size_t>(begin)].table);
    runs.push_back({begin, end, FindEntries(tables.k, b, h, line, begin, end),
                    FindEntries(tables.v, b, h, line, begin, end), tables.k[table].stride(2), tables.v[table].stride(2),
                    true});
  });
}

// f(run, first of its rows, their first row in a block, rows) for the entries [begin, begin + count) of a line.
template <class T, class F>
HWY_INLINE void ForRuns(const std::vector<Run<T>>& runs, Index begin, Index count, const F& f) {
  for (const Run<T>& run : runs) {
    const Index from = std::max(begin, run.begin), to = std::min(begin + count, run.end);
    if (from < to) f(run, from - run.begin, from - begin, to - from);
  }
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
