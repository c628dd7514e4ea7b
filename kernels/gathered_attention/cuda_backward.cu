#include "subquad/kernels/attention/cuda_query.cuh"
#include "subquad/kernels/copy/order.h"
#include "subquad/kernels/gathered_attention/cuda.h"
#include "subquad/kernels/gathered_attention/cuda_slots.cuh"

// Queries own dq, dbias and delta, and write down the key of each slot; a radix sort of these (kernels/copy/order.h)
// is the index by keys, in which slots of a key keep the order of queries and slots; keys own dk and dv. A key that
// very many slots have is a hub: its slots are cut into pieces of 512, counted from its first one, whose sums are made
// in a launch of their own and then added in order. The logits are those of forward, by the same steps.
namespace subquad::kernels::cuda {
namespace {

constexpr int kKeysPerBlock = kGatherThreads / kWarp;  // a warp each
constexpr Index kHub = 512;                            // slots that a warp takes of a key

template <class T>
struct GatheredBackward {
  View<const T, 4> dout, q, k, v, out;
  View<const T, 3> lse, lse_rest, dlse;  // dlse: data may be null
  GatheredSlots<T> slots;
  T scale;
  View<T, 4> dq, dk, dv;
  T* dbias;  // [B, H, Nq, K], null = not wanted
  T* delta;  // [B, H, Nq]
  // Of each slot: its key as head Nk + j, B H Nk where it is not live; then the same rising, and where they stood.
  Index* slot_keys;
  const Index *sorted_keys, *sorted_places;
  T* hub_sums;  // [pieces, E + Ev]: of dk (not scaled) and dv; null where no key can be a hub

  __device__ int width() const { return static_cast<int>(q.dim(3)); }
  __device__ int value_width() const { return static_cast<int>(v.dim(3)); }
  __device__ Index slot_total() const { return q.dim(0) * q.dim(1) * slots.queries * slots.count; }
};

// A block per 32 queries (and per chunk of features of dq), as in forward. Memory: q, dout, out, index and dq once, the
// keys of slots, and a row of k and of v per slot.
template <class T, class Part>
__global__ void __launch_bounds__(kGatherThreads, 1) gathered_grad_queries(GatheredBackward<T> args) {
  constexpr int kAtOnce = kGatheredAtOnce<Part>;
  const GatheredSlots<T>& slots = args.slots;
  const int width = args.width(), value_width = args.value_width();
  const GatherWork work(args.q.dim(1), tiles(slots.queries, kGatherRows), tiles(width, Part::kFeatures));
  const int i = work.tile * kGatherRows + static_cast<int>(threadIdx.x) / kRowLanes;
  const int column = work.chunk * Part::kFeatures, lane = static_cast<int>(threadIdx.x) % kRowLanes;
  const bool counts = slots.query_counts(work.b, i);
  const HeadRows<const T> k(args.k, work.b, work.h), v(args.v, work.b, work.h);
  const T* const q = HeadRows<const T>(args.q, work.b, work.h).row(i);
  const T* const dout = HeadRows<const T>(args.dout, work.b, work.h).row(i);
  const T* const out = HeadRows<const T>(args.out, work.b, work.h).row(i);
  const Part q_part = Part::load(q, 0, width, counts), dout_part = Part::load(dout, 0, value_width, counts);
  const T product = row_dot(dout_part, Part::load(out, 0, value_width, counts), dout, out, value_width, counts);
  QueryNumbers<T> numbers = {};
  if (counts) {
    const T dlse = args.dlse.data() == nullptr ? T(0) : args.dlse(work.b, work.h, i);
    numbers = {args.lse(work.b, work.h, i), args.lse_rest(work.b, work.h, i), product - dlse};
    if (work.chunk == 0 && lane == 0) args.delta[work.head * slots.queries + i] = numbers.delta;
  }

  Part dq = {};
  for (int from = 0; from < slots.count; from += kRowLanes) {
    const Index place = slots.at(work.head, i, from + lane);
    const int my_key = counts && from + lane < slots.count ? slots.key(work.b, place) : -1;
    const T my_bias = my_key < 0 ? T(0) : slots.added(place);
    T my_ds = 0;
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
        values_part[u] = Part::load(v.row(keys[u]), 0, value_width, live[u]);
      }
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const T logit = args.scale * row_dot(q_part, keys_part[u], q, k.row(keys[u]), width, live[u]);
        const T dp = row_dot(dout_part, values_part[u], dout, v.row(keys[u]), value_width, live[u]);
        const T bias = of_row_lane(my_bias, t + u);
        const T p = live[u] ? numbers.probability(logit + bias) : T(0);
        const T ds = live[u] ? p * (dp - numbers.delta) : T(0);
        dq.add(ds, row_part(keys_part[u], k.row(keys[u]), column, width, live[u]));
        if (lane == t + u) my_ds = ds;
      }
    }
    if (work.chunk != 0 || i >= slots.queries || from + lane >= slots.count) continue;
    if (args.dbias != nullptr) args.dbias[place] = my_ds;
    args.slot_keys[place] = my_key < 0 ? args.q.dim(0) * args.q.dim(1) * slots.keys : work.head * slots.keys + my_key;
  }

  if (i >= slots.queries) return;
  dq.scale(args.scale);
  dq.store(HeadRows<T>(args.dq, work.b, work.h).row(i), column, width);
}

// The first place in rising keys [0, count) that holds `key` or more.
__device__ Index first_place(const Index* keys, Index count, Index key) {
  Index begin = 0;
  while (count > 0) {
    const Index half = count / 2;
    const bool before = keys[begin + half] < key;
    begin += before ? half + 1 : 0;
    count = before ? count - half - 1 : half;
  }
  return begin;
}

// The slots that have key number head Nk + j: places begin ... begin + count - 1 of the sorted ones.
struct KeySlots {
  Index begin, count;

  template <class T>
  __device__ KeySlots(const GatheredBackward<T>& args, Index number) {
    begin = first_place(args.sorted_keys, args.slot_total(), number);
    count = first_place(args.sorted_keys + begin, args.slot_total() - begin, number + 1);
  }
  __device__ bool are_of_hub() const { return count > kHub; }
};

// What slots give to dk (not scaled) and dv of their key.
template <class Part>
struct KeySums {
  Part dk = {}, dv = {};

  __device__ void add_groups() {
    dk.add_groups();
    dv.add_groups();
  }
};

// Of sorted slots begin ... begin + count - 1, which have the key number head Nk + j, and of the features from `column`
// on: eight lanes take every fourth of the slots, and the four sums are added at the end. All lanes of a warp call and
// get them.
template <class Part, class T>
__device__ KeySums<Part> key_sums(const GatheredBackward<T>& args, Index head, Index j, Index begin, Index count,
                                  int column) {
  constexpr int kAtOnce = kGatheredAtOnce<Part>, kGroups = kWarp / kRowLanes;
  const GatheredSlots<T>& slots = args.slots;
  const int width = args.width(), value_width = args.value_width();
  const int group = static_cast<int>(threadIdx.x) % kWarp / kRowLanes;
  const Index b = head / args.q.dim(1), h = head % args.q.dim(1);
  const HeadRows<const T> q(args.q, b, h), dout(args.dout, b, h);
  const T* const k = HeadRows<const T>(args.k, b, h).row(j);
  const T* const v = HeadRows<const T>(args.v, b, h).row(j);
  const Part k_part = Part::load(k, 0, width, count > 0), v_part = Part::load(v, 0, value_width, count > 0);
  KeySums<Part> sums;
#pragma unroll 1
  for (Index from = 0; from < count; from += kGroups * kAtOnce) {
    Index places[kAtOnce];
    int queries[kAtOnce];
    Part q_part[kAtOnce], dout_part[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const Index at = from + u * kGroups + group;
      places[u] = at < count ? args.sorted_places[begin + at] : -1;
      queries[u] = places[u] < 0 ? 0 : static_cast<int>(places[u] / slots.count % slots.queries);
      q_part[u] = Part::load(q.row(queries[u]), 0, width, places[u] >= 0);
      dout_part[u] = Part::load(dout.row(queries[u]), 0, value_width, places[u] >= 0);
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const bool live = places[u] >= 0;
      const int i = queries[u];
      const T logit = args.scale * row_dot(k_part, q_part[u], k, q.row(i), width, live);
      const T dp = row_dot(v_part, dout_part[u], v, dout.row(i), value_width, live);
      T p = 0, ds = 0;
      if (live) {
        const QueryNumbers<T> numbers = {args.lse(b, h, i), args.lse_rest(b, h, i),
                                         args.delta[head * slots.queries + i]};
        p = numbers.probability(logit + slots.added(places[u]));
        ds = p * (dp - numbers.delta);
      }
      sums.dk.add(ds, row_part(q_part[u], q.row(i), column, width, live));
      sums.dv.add(p, row_part(dout_part[u], dout.row(i), column, value_width, live));
    }
  }
  sums.add_groups();
  return sums;
}

// Two warps for every 512 sorted slots (and a block for eight, and per chunk of features). A hub has more slots than
// that, so that at most two of its pieces, or of two hubs', begin there: the next of the hub that has the first of
// these slots, which is warp 2 w's, and the first of one that begins behind it, which is warp 2 w + 1's. Memory as for
// keys, and a row of sums per piece.
template <class T, class Part>
__global__ void __launch_bounds__(kGatherThreads, 1) gathered_grad_hubs(GatheredBackward<T> args) {
  const int width = args.width(), value_width = args.value_width();
  const int chunks = tiles(std::max(width, value_width), Part::kFeatures);
  const Index piece = Index{blockIdx.x} / chunks * kKeysPerBlock + threadIdx.x / kWarp;
  const Index start = piece / 2 * kHub, stop = std::min(start + kHub, args.slot_total());
  if (start >= stop) return;  // the whole warp, here as below
  const bool begins_here = piece % 2 == 1;
  const Index number = args.sorted_keys[begins_here ? stop - 1 : start], keys = args.slots.keys;
  if (number >= args.q.dim(0) * args.q.dim(1) * keys) return;  // slots that are not live
  const KeySlots mine(args, number);
  if (!mine.are_of_hub() || (begins_here && mine.begin <= start)) return;
  const Index end = mine.begin + mine.count;
  const Index first = begins_here ? mine.begin : mine.begin + (start - mine.begin + kHub - 1) / kHub * kHub;
  if (first >= end) return;
  const int column = static_cast<int>(blockIdx.x % chunks) * Part::kFeatures;
  const KeySums<Part> sums =
      key_sums<Part>(args, number / keys, number % keys, first, end - first < kHub ? end - first : kHub, column);
  if (threadIdx.x % kWarp >= kRowLanes) return;
  T* const row = args.hub_sums + piece * (width + value_width);
  sums.dk.store(row, column, width);
  sums.dv.store(row + width, column, value_width);
}

// The pieces of a hub added up: eight lanes take every fourth of them.
template <class Part, class T>
__device__ KeySums<Part> hub_sums(const GatheredBackward<T>& args, const KeySlots& hub, int column) {
  constexpr int kGroups = kWarp / kRowLanes;
  const int width = args.width(), value_width = args.value_width();
  const int group = static_cast<int>(threadIdx.x) % kWarp / kRowLanes;
  const Index pieces = (hub.count + kHub - 1) / kHub;
  KeySums<Part> sums;
#pragma unroll 1
  for (Index r = group; r < pieces; r += kGroups) {
    const bool first = r == 0 && hub.begin % kHub != 0;  // it begins behind the first of 512 slots
    const T* const row = args.hub_sums + (2 * (hub.begin / kHub + r) + (first ? 1 : 0)) * (width + value_width);
    sums.dk.add(1, Part::load(row, column, width));
    sums.dv.add(1, Part::load(row + width, column, value_width));
  }
  sums.add_groups();
  return sums;
}

// A warp per key (and a block per eight, and per chunk of features). Memory: k, v, dk and dv once, and a row of q and
// of dout per slot.
template <class T, class Part>
__global__ void __launch_bounds__(kGatherThreads, 1) gathered_grad_keys(GatheredBackward<T> args) {
  const int width = args.width(), value_width = args.value_width(), keys = args.slots.keys;
  const GatherWork work(args.q.dim(1), tiles(keys, kKeysPerBlock),
                        tiles(std::max(width, value_width), Part::kFeatures));
  const int j = work.tile * kKeysPerBlock + static_cast<int>(threadIdx.x) / kWarp;
  if (j >= keys) return;  // the whole warp
  const int column = work.chunk * Part::kFeatures;
  const KeySlots mine(args, work.head * keys + j);
  KeySums<Part> sums;
  if (mine.are_of_hub())
    sums = hub_sums<Part>(args, mine, column);
  else
    sums = key_sums<Part>(args, work.head, j, mine.begin, mine.count, column);
  if (threadIdx.x % kWarp >= kRowLanes) return;
  sums.dk.scale(args.scale);
  sums.dk.store(HeadRows<T>(args.dk, work.b, work.h).row(j), column, width);
  sums.dv.store(HeadRows<T>(args.dv, work.b, work.h).row(j), column, value_width);
}

}  // namespace

void gathered_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& index, const AttentionOutput& forward, const Tensor& bias, const Mask& keys,
                             const GatheredAttentionOptions& options, GatheredAttentionGrads& grads) {
  constexpr const char* kOp = "gathered_attention_grad";
  const Index heads = q.dim(0) * q.dim(1);
  if (heads == 0) return;
  const int width = static_cast<int>(q.dim(3)), value_width = static_cast<int>(v.dim(3));
  const int queries = static_cast<int>(q.dim(2)), key_count = static_cast<int>(k.dim(2));
  Tensor delta = empty({heads, q.dim(2)}, q.dtype(), q.device(), kOp);
  Tensor slot_keys = empty({index.size()}, kInt64, q.device(), kOp);
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    const View<const T, 3> no_dlse(nullptr, {0, 0, 0}, {0, 0, 0});
    GatheredBackward<T> args{dout.view<const T, 4>(),
                             q.view<const T, 4>(),
                             k.view<const T, 4>(),
                             v.view<const T, 4>(),
                             forward.out.view<const T, 4>(),
                             forward.lse.view<const T, 3>(),
                             forward.lse_rest.view<const T, 3>(),
                             dlse.defined() ? dlse.view<const T, 3>() : no_dlse,
                             GatheredSlots<T>(index, bias, keys, k.dim(2), options),
                             static_cast<T>(options.scale),
                             grads.dq.view<T, 4>(),
                             grads.dk.view<T, 4>(),
                             grads.dv.view<T, 4>(),
                             grads.dbias.defined() ? grads.dbias.data<T>() : nullptr,
                             delta.data<T>(),
                             slot_keys.data<Index>(),
                             nullptr,
                             nullptr,
                             nullptr};
    const bool packs = heads_can_pack<T>(dout, q, k, v, forward.out, grads.dq, grads.dk, grads.dv);
    with_row_part<T>(std::max(width, value_width), packs, [&]<class Part>(Type<Part>) {
      const auto start = [&](auto* kernel, Index blocks) {
        if (blocks == 0) return;
        launch(kernel, dim3(blocks_for(kOp, blocks, 1)), dim3(kGatherThreads), 0, current_stream(), args);
      };
      const Index chunks = tiles(std::max(width, value_width), Part::kFeatures);
      start(gathered_grad_queries<T, Part>, heads * tiles(queries, kGatherRows) * tiles(width, Part::kFeatures));
      Order order;
      if (slot_keys.size() > 0) {
        order = order_by_key(slot_keys, heads * key_count + 1);
        args.sorted_keys = order.keys.template data<Index>();
        args.sorted_places = order.places.template data<Index>();
      }
      Tensor hub_sums;
      if (key_count > 0 && q.dim(2) * index.dim(3) > kHub) {  // as many slots of a head can have the same key
        const Index pieces = 2 * ((slot_keys.size() + kHub - 1) / kHub);
        hub_sums = empty({pieces, width + value_width}, q.dtype(), q.device(), kOp);
        args.hub_sums = hub_sums.data<T>();
        start(gathered_grad_hubs<T, Part>, (pieces + kKeysPerBlock - 1) / kKeysPerBlock * chunks);
      }
      start(gathered_grad_keys<T, Part>, heads * tiles(key_count, kKeysPerBlock) * chunks);
    });
  });
}

}  // namespace subquad::kernels::cuda
