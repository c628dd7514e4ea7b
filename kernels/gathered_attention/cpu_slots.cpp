#include "subquad/kernels/gathered_attention/cpu.h"
#include "subquad/kernels/gathered_attention/slots.h"

#include <bit>
#include <cstdint>

namespace subquad::kernels {

SlotsByKey::SlotsByKey(const Slots& slots, Index key_count)
    : starts(zeros({key_count + 1}, kInt64, kCpu)),
      shift(static_cast<int>(std::bit_width(static_cast<std::uint64_t>(slots.count)))) {
  const auto for_live = [&](const auto& f) {
    for (Index i = 0; i < slots.queries; ++i) {
      if (slots.skipped(i)) continue;
      Index entry = i << shift;
      for (Index t = 0; t < slots.count; ++t)
        if (const Index j = slots.key(i, t); j >= 0) f(j, entry++);
    }
  };
  Index* start = starts.data<Index>();
  for_live([&](Index j, Index) { ++start[j + 1]; });
  for (Index j = 0; j < key_count; ++j) start[j + 1] += start[j];
  entries = empty({start[key_count]}, kInt64, kCpu);
  Tensor next = starts.clone();
  Index *place = next.data<Index>(), *entry = entries.data<Index>();
  for_live([&](Index j, Index slot) { entry[place[j]++] = slot; });
}

void cpu::check_gathered_index(const char* op, const Tensor& index, const Mask& keys, Index key_count,
                               const GatheredAttentionOptions& options) {
  for (Index head = 0; head < index.dim(0) * index.dim(1); ++head) {
    const Slots slots(index, keys, key_count, options, head);
    for (Index i = 0; i < slots.queries; ++i) {
      if (slots.skipped(i)) continue;
      const Index* row = slots.index + i * slots.count;
      Index bad = 0;  // one look at a row without branches
      for (Index t = 0; t < slots.count; ++t)
        bad += static_cast<std::uint64_t>(row[t]) + 1 > static_cast<std::uint64_t>(key_count) ? 1 : 0;
      for (Index t = 0; bad > 0 && t < slots.count; ++t)
        if (const Index j = row[t]; j < -1 || j >= key_count)
          throw Error(cat(op, ": index[", head / index.dim(1), ", ", head % index.dim(1), ", ", i, ", ", t, "] is ", j,
                          ", expected a key 0 <= j < ", key_count, ", or -1 for an empty slot"));
    }
  }
}

}  // namespace subquad::kernels
