// What the forward and backward of block_attention share. Include inside the per-target part of a kernel.
#if defined(SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_INL_H_
#undef SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_INL_H_
#else
#define SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_INL_H_
#endif

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

enum class Coverage { none, some, all };

// How many of the entries the queries number first ... last see.
inline Coverage CoverageOf(const Entry* entries, Index count, Index first, Index last) {
  Index all = 0, none = 0;
  for (Index e = 0; e < count; ++e) {
    all += entries[e].seen_by_all(first, last) ? 1 : 0;
    none += entries[e].seen_by_none(first, last) ? 1 : 0;
  }
  return none == count ? Coverage::none : all == count ? Coverage::all : Coverage::some;
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

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
