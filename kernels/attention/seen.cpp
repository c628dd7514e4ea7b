#include "subquad/kernels/attention/seen.h"

namespace subquad::kernels {

Seen seen(const Mask& mask, Index sample, Index query_count, Index key_count, const AttentionOptions& options) {
  const bool* real = mask.defined() ? mask.real.data<bool>() + sample * key_count : nullptr;
  const bool skip = options.skip_padded_queries && query_count == key_count;
  const bool* counts = options.queries.defined() ? options.queries.real.data<bool>() + sample * query_count
                       : skip                    ? real
                                                 : nullptr;
  Seen s{.keys = {}, .queries = {}, .limits = {}, .memory = empty({key_count + 2 * query_count}, kInt64, kCpu)};

  Index* keys = s.memory.data<Index>();
  Index key_number = 0;
  for (Index j = 0; j < key_count; ++j)
    if (real == nullptr || real[j]) keys[key_number++] = j;

  Index* queries = keys + key_count;
  Index* limits = queries + query_count;
  Index query_number = 0, limit = options.causal ? 0 : key_number;
  for (Index i = 0; i < query_count; ++i) {
    while (limit < key_number && keys[limit] <= i + key_count - query_count) ++limit;
    if (limit == 0 || (counts != nullptr && !counts[i])) continue;
    queries[query_number] = i;
    limits[query_number++] = limit;
  }
  const auto count = [](Index n) { return static_cast<std::size_t>(n); };
  s.keys = {keys, count(key_number)};
  s.queries = {queries, count(query_number)};
  s.limits = {limits, count(query_number)};
  return s;
}

}  // namespace subquad::kernels
