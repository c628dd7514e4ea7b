#include <cmath>
#include <limits>

#include "subquad/kernels/lag_column_attention/cuda.h"
#include "subquad/kernels/lag_column_attention/cuda_slots.cuh"

namespace subquad::kernels::cuda {
namespace {

template <class T, class R>
struct LagColumnForward {
  View<const R, 4> q, k, v;
  ChosenSlots<T> chosen;
  SlotDropout dropout;
  T scale;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
};

// A block per 32 queries (and per chunk of features of the result, where they are many): online softmax over the lags,
// then over the columns, logits and sums in registers. Memory: q and out once, and from the second-level cache one row
// of k and v per query and lag, which is what takes the time.
template <class T, class R, class Part>
__global__ void __launch_bounds__(kSlotThreads) lag_column_queries(LagColumnForward<T, R> args) {
  constexpr int kAtOnce = kSlotsAtOnce<Part>;
  SharedMemory shared;
  const SlotTile<T> tile(shared);
  const int positions = static_cast<int>(args.q.dim(2)), width = static_cast<int>(args.q.dim(3));
  const int value_width = static_cast<int>(args.v.dim(3));
  const SlotWork work(blockIdx.x, args.q.dim(1), tiles(positions, kSlotRows), tiles(value_width, Part::kFeatures));
  const int n = static_cast<int>(args.chosen.lengths[work.b]), first = work.tile * kSlotRows;
  const int row = static_cast<int>(threadIdx.x) / kRowLanes, i = first + row, column = work.chunk * Part::kFeatures;
  const bool sees = i < n;
  const HeadRows<const R> k(args.k, work.b, work.h), v(args.v, work.b, work.h);
  const R* const q = HeadRows<const R>(args.q, work.b, work.h).row(i);
  const Part q_part = load_row<Part>(q, 0, width, sees);

  T top = std::numeric_limits<T>::lowest(), sum = 0;
  Part out = {};
  for (int is_column = 0; is_column < 2; ++is_column) {
    const SlotKind kind = is_column ? SlotKind::column : SlotKind::lag;
    for (int from = 0; first < n && from < args.chosen.count(kind); from += kSlotTile) {
      tile.load(args.chosen, kind, work.head, n, from, first);
#pragma unroll 1
      for (int slot = 0; warp_has_rows(first, n) && slot < kSlotTile; slot += kAtOnce) {
        if (!tile.template any<kAtOnce>(slot)) continue;
        int keys[kAtOnce], places[kAtOnce], queries[kAtOnce];
        bool seen[kAtOnce];
        Part keys_part[kAtOnce], values_part[kAtOnce];
#pragma unroll
        for (int u = 0; u < kAtOnce; ++u) {
          places[u] = tile.places[slot + u];
          queries[u] = i;
          seen[u] = sees && places[u] >= 0 && (tile.hidden[slot + u] >> row & 1) == 0;
          keys[u] = !seen[u] ? 0 : kind == SlotKind::lag ? wrapped_sum(i, places[u], n) : places[u];
          keys_part[u] = load_row<Part>(k.row(keys[u]), 0, width, seen[u]);
          values_part[u] = load_row<Part>(v.row(keys[u]), column, value_width, seen[u]);
        }
        T weights[kAtOnce], new_top = top;
#pragma unroll
        for (int u = 0; u < kAtOnce; ++u) {
          const T product = dot_rows_of<T>(q_part, keys_part[u], q, k.row(keys[u]), width, seen[u]);
          const T logit = args.scale * product + tile.scores[slot + u];
          weights[u] = seen[u] ? logit : -std::numeric_limits<T>::infinity();
          new_top = Max::of(new_top, weights[u]);
        }
        const T shrink = std::exp(top - new_top);
        top = new_top;
        sum *= shrink;
        out.scale(shrink);
#pragma unroll
        for (int u = 0; u < kAtOnce; ++u) {
          weights[u] = std::exp(weights[u] - top);
          sum += weights[u];
        }
        if (args.dropout.active) {
          T factors[kAtOnce];
          args.dropout.factors(work.b, work.h, kind, places, queries, factors);
          for (int u = 0; u < kAtOnce; ++u) weights[u] *= factors[u];
        }
#pragma unroll
        for (int u = 0; u < kAtOnce; ++u) out.add(weights[u], values_part[u]);
      }
    }
  }

  if (i >= positions) return;
  out.scale(sum == 0 ? T(0) : 1 / sum);
  out.store(HeadRows<T>(args.out, work.b, work.h).row(i), column, value_width);
  if (work.chunk == 0 && threadIdx.x % kRowLanes == 0)
    store_lse(top, sum, &args.lse(work.b, work.h, i), &args.lse_rest(work.b, work.h, i));
}

}  // namespace

void lag_column_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LagColumns& chosen,
                          const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options,
                          AttentionOutput& result) {
  if (result.lse.size() == 0) return;
  constexpr const char* kOp = "lag_column_attention";
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    with_row_part<T>(std::max(q.dim(3), v.dim(3)), heads_can_pack<T>(q, k, v, result.out), [&]<class Part>(Type<Part>) {
      const Index blocks = q.dim(0) * q.dim(1) * tiles(static_cast<int>(q.dim(2)), kSlotRows) *
                           tiles(static_cast<int>(v.dim(3)), Part::kFeatures);
      with_operand_rows<T, Part>({q, k, v}, [&]<class R>(Type<R>, const std::vector<Tensor>& rows) {
        const LagColumnForward<T, R> args{
            rows[0].view<const R, 4>(),     rows[1].view<const R, 4>(),
            rows[2].view<const R, 4>(),     ChosenSlots<T>(chosen, scores, mask, q.dim(2)),
            SlotDropout(options, q.dim(1)), static_cast<T>(options.scale),
            result.out.view<T, 4>(),        result.lse.view<T, 3>(),
            result.lse_rest.view<T, 3>()};
        launch(lag_column_queries<T, R, Part>, dim3(blocks_for(kOp, blocks, 1)), dim3(kSlotThreads),
               SlotTile<T>::bytes(), current_stream(), args);
      });
    });
  });
}

}  // namespace subquad::kernels::cuda
