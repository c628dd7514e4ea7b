#include <cmath>
#include <limits>

#include "subquad/kernels/gathered_attention/cuda.h"
#include "subquad/kernels/gathered_attention/cuda_slots.cuh"

namespace subquad::kernels::cuda {
namespace {

template <class T>
struct GatheredForward {
  View<const T, 4> q, k, v;
  GatheredSlots<T> slots;
  T scale;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
};

// A block per 32 queries (and per chunk of features of the result, where they are many): online softmax over a query's
// slots, logits and sums in registers. Memory: q, index, bias and out once, and a row of k and of v per slot, from the
// second-level cache as far as a head fits there.
template <class T, class Part>
__global__ void __launch_bounds__(kGatherThreads, 1) gathered_queries(GatheredForward<T> args) {
  constexpr int kAtOnce = kGatheredAtOnce<Part>;
  const GatheredSlots<T>& slots = args.slots;
  const int width = static_cast<int>(args.q.dim(3)), value_width = static_cast<int>(args.v.dim(3));
  const GatherWork work(args.q.dim(1), tiles(slots.queries, kGatherRows), tiles(value_width, Part::kFeatures));
  const int i = work.tile * kGatherRows + static_cast<int>(threadIdx.x) / kRowLanes;
  const int column = work.chunk * Part::kFeatures, lane = static_cast<int>(threadIdx.x) % kRowLanes;
  const bool counts = slots.query_counts(work.b, i);
  const HeadRows<const T> k(args.k, work.b, work.h), v(args.v, work.b, work.h);
  const T* const q = HeadRows<const T>(args.q, work.b, work.h).row(i);
  const Part q_part = Part::load(q, 0, width, counts);

  T top = std::numeric_limits<T>::lowest(), sum = 0;
  Part out = {};
  for (int from = 0; from < slots.count; from += kRowLanes) {
    const Index place = slots.at(work.head, i, from + lane);
    const int my_key = counts && from + lane < slots.count ? slots.key(work.b, place) : -1;
    const T my_bias = my_key < 0 ? T(0) : slots.added(place);
#pragma unroll 1
    for (int t = 0; t < kRowLanes && from + t < slots.count; t += kAtOnce) {
      int keys[kAtOnce];
      bool live[kAtOnce];
      Part keys_part[kAtOnce], values_part[kAtOnce];
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        keys[u] = of_row_lane(my_key, t + u);
        live[u] = keys[u] >= 0;
        if (!live[u]) keys[u] = 0;
        keys_part[u] = Part::load(k.row(keys[u]), 0, width, live[u]);
        values_part[u] = Part::load(v.row(keys[u]), column, value_width, live[u]);
      }
      T weights[kAtOnce], new_top = top;
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const T product = row_dot(q_part, keys_part[u], q, k.row(keys[u]), width, live[u]);
        const T logit = args.scale * product + of_row_lane(my_bias, t + u);
        weights[u] = live[u] ? logit : -std::numeric_limits<T>::infinity();
        new_top = Max::of(new_top, weights[u]);
      }
      const T shrink = std::exp(top - new_top);
      top = new_top;
      sum *= shrink;
      out.scale(shrink);
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const T weight = std::exp(weights[u] - top);
        sum += weight;
        out.add(weight, values_part[u]);
      }
    }
  }

  if (i >= slots.queries) return;
  out.scale(sum == 0 ? T(0) : 1 / sum);
  out.store(HeadRows<T>(args.out, work.b, work.h).row(i), column, value_width);
  if (work.chunk == 0 && lane == 0)
    store_lse(top, sum, &args.lse(work.b, work.h, i), &args.lse_rest(work.b, work.h, i));
}

}  // namespace

void gathered_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& index, const Tensor& bias,
                        const Mask& keys, const GatheredAttentionOptions& options, AttentionOutput& result) {
  if (result.lse.size() == 0) return;
  constexpr const char* kOp = "gathered_attention";
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    const GatheredForward<T> args{q.view<const T, 4>(),          k.view<const T, 4>(),
                                  v.view<const T, 4>(),          GatheredSlots<T>(index, bias, keys, k.dim(2), options),
                                  static_cast<T>(options.scale), result.out.view<T, 4>(),
                                  result.lse.view<T, 3>(),       result.lse_rest.view<T, 3>()};
    with_row_part<T>(std::max(q.dim(3), v.dim(3)), heads_can_pack<T>(q, k, v, result.out), [&]<class Part>(Type<Part>) {
      const Index blocks = q.dim(0) * q.dim(1) * tiles(static_cast<int>(q.dim(2)), kGatherRows) *
                           tiles(static_cast<int>(v.dim(3)), Part::kFeatures);
      launch(gathered_queries<T, Part>, dim3(blocks_for(kOp, blocks, 1)), dim3(kGatherThreads), 0, current_stream(),
             args);
    });
  });
}

}  // namespace subquad::kernels::cuda
