#include "subquad/kernels/block_attention/cuda_plain.cuh"

#include <algorithm>

#include "subquad/kernels/attention/cuda_group.cuh"
#include "subquad/kernels/attention/cuda_sight.cuh"
#include "subquad/kernels/dropout/weights.cuh"

// Groups of eight lanes multiply a row with four others at a time. A warp owns a query, or in the gradients of tokens
// and summaries a row of a table; rows that many queries see are owned by a block. Results of more than 64 columns are
// shared by several blocks, each of which makes the logits again. Who takes which of a row's partners follows from
// positions alone, so that padding changes no bit.
namespace subquad::kernels::cuda {
namespace {

constexpr int kMostTables = 5;  // the tokens and four summaries

// logsparse: rows that stand for at least 2^kLongLevel tokens are owned by blocks; of fixed, all summaries.
constexpr int kLongLevel = 6;

template <class T>
struct TableRows {  // [B, H, S, .]
  T* data = nullptr;
  Index of_sample = 0, of_head = 0, of_row = 0;  // strides

  TableRows() = default;
  template <class AnyTensor>
  explicit TableRows(AnyTensor& t)
      : data(t.template data<T>()), of_sample(t.strides()[0]), of_head(t.strides()[1]), of_row(t.strides()[2]) {}
  __device__ T* head(Index b, Index h) const { return data + b * of_sample + h * of_head; }
};

template <class T>
struct Table {
  TableRows<const T> k, v;
  TableRows<T> dk, dv;  // backward alone
};

template <class T>
struct Arguments {
  View<const T, 4> q;
  Table<T> tables[kMostTables];
  Alive alive;
  T scale;
  WeightDropout dropout;
  int width, value_width;

  Arguments(const Tensor& queries, const Tensor& keys, const Tensor& values, const std::vector<Summaries>& summaries,
            const Alive& rows, const BlockAttentionOptions& options)
      : q(queries.view<const T, 4>()),
        alive(rows),
        scale(static_cast<T>(options.scale)),
        dropout(options.dropout, options.random),
        width(static_cast<int>(queries.dim(3))),
        value_width(static_cast<int>(values.dim(3))) {
    tables[0].k = TableRows<const T>(keys);
    tables[0].v = TableRows<const T>(values);
    for (std::size_t t = 0; t < summaries.size(); ++t) {
      tables[t + 1].k = TableRows<const T>(summaries[t].k);
      tables[t + 1].v = TableRows<const T>(summaries[t].v);
    }
  }
  __device__ const BlockSight& sight() const { return alive.sight; }
};

template <class T>
struct ForwardArguments {
  Arguments<T> in;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
};

template <class T>
struct GradArguments {
  Arguments<T> in;
  View<const T, 4> dout, out;
  View<const T, 3> lse, lse_rest, dlse;  // dlse may have no data
  T* delta;                              // [B, H, Q]
  View<T, 4> dq;
};

// The rows of one head, in shared memory: which table is wanted is known by a thread, not by the compiler.
template <class T>
struct HeadTable {
  const T *k, *v;
  T *dk, *dv;
  Index k_row, v_row, dk_row, dv_row;  // from one row to the next
};

template <class T>
__device__ HeadTable<T>* head_tables(const Arguments<T>& in, Index b, Index h, SharedMemory& shared) {
  auto* const heads = shared.take<HeadTable<T>>(kMostTables);
#pragma unroll
  for (int t = 0; t < kMostTables; ++t) {
    if (static_cast<int>(threadIdx.x) != t) continue;
    const Table<T>& of = in.tables[t];
    heads[t] = {of.k.head(b, h), of.v.head(b, h), of.dk.head(b, h), of.dv.head(b, h),
                of.k.of_row,     of.v.of_row,     of.dk.of_row,     of.dv.of_row};
  }
  __syncthreads();
  return heads;
}

// Where a block works: heads outermost, then what it owns, then the chunks of 64 columns.
struct Work {
  Index head, b, h, unit;
  int column;

  __device__ Work(Index heads, Index units, int width) {
    const int chunks = (width + kGroupColumns - 1) / kGroupColumns;
    head = blockIdx.x / chunks / units;
    b = head / heads;
    h = head % heads;
    unit = blockIdx.x / chunks % units;
    column = static_cast<int>(blockIdx.x % chunks) * kGroupColumns;
  }
};

constexpr int chunks_of(int width) {
  return (width + kGroupColumns - 1) / kGroupColumns;
}

// Calls f(k, v, logit, factor) for the entries that query i sees: keys and values of four, null where one is not seen,
// and the logit of the lane's own with what dropout makes of its weight. Whole warps call f.
template <class T, int N, class F>
__device__ void for_entries(const Arguments<T>& in, const HeadTable<T>* tables, Index b, Index h, int i, const T* q,
                            const F& f) {
  const Alive::Sample alive = in.alive.sample(b);
  const Walkers walkers{false};
  const int own_x = GroupLane().row;
  for (int part = 0; part < in.sight().stretches(); ++part) {
    const Entries entries = in.sight().entries_of(i, part);
    const HeadTable<T> table = tables[entries.table];
    for (int from = 0; from < entries.rows.count; from += walkers.count() * kGroupRows) {
      const int first = from + walkers.number() * kGroupRows, own = first + own_x;
      const bool seen = entries.rows.has(own) && alive.row(entries.table, entries.rows.at(own));
      const T *k[kGroupRows], *v[kGroupRows];
#pragma unroll
      for (int x = 0; x < kGroupRows; ++x) {
        const bool there = __shfl_sync(kWholeWarp, seen ? 1 : 0, GroupLane().base + x) != 0;
        k[x] = there ? table.k + entries.rows.at(first + x) * table.k_row : nullptr;
        v[x] = there ? table.v + entries.rows.at(first + x) * table.v_row : nullptr;
      }
      const T logit = in.scale * dot_rows<N>(q, k, in.width);
      const bool drops = in.dropout.active && entries.table == 0 && seen;
      const T factor =
          drops ? static_cast<T>(in.dropout.factor(b, Index{i} * in.q.dim(1) + h, entries.rows.at(own))) : T(1);
      f(k, v, seen ? logit : -std::numeric_limits<T>::infinity(), factor);
    }
  }
}

// A warp owns a query, a block four neighbours: reads the keys and values of all that they see, mostly from cache.
template <class T, int N>
__global__ void block_attention_plain_queries(ForwardArguments<T> args) {
  SharedMemory shared;
  const Arguments<T>& in = args.in;
  const Work work(in.q.dim(1), (in.sight().queries + kGroupWarps - 1) / kGroupWarps, in.value_width);
  const HeadTable<T>* const tables = head_tables(in, work.b, work.h, shared);
  const GroupScratch<T> scratch(shared);
  const Walkers walkers{false};
  const int i = static_cast<int>(work.unit * kGroupWarps + threadIdx.x / kWarp);
  if (i >= in.sight().queries) return;
  GroupOnline<T> online;
  GroupSums<N, T> sums;
  if (in.alive.sample(work.b).query(i))
    for_entries<T, N>(in, tables, work.b, work.h, i, &in.q(work.b, work.h, i, 0),
                      [&](const auto&, const auto& v, T logit, T factor) {
                        T shrink;
                        const T p = online.weigh(logit, shrink);
                        sums.scale(shrink);
                        sums.add(p * factor, v, work.column, in.value_width);
                      });
  sums.scale(online.join(walkers, scratch));
  add_walkers(sums, walkers, scratch);
  if (!walkers.writes()) return;
  sums.store(&args.out(work.b, work.h, i, 0), share_of(online.sum), work.column, in.value_width);
  if (work.column == 0 && GroupLane().lane == 0)
    store_lse(online.top, online.sum, &args.lse(work.b, work.h, i), &args.lse_rest(work.b, work.h, i));
}

// Weight of a pair that sees each other; 1 at most, whatever forward results the caller hands in.
template <class T>
__device__ T weight_of(T logit, T lse, T rest) {
  const T log_p = logit - lse - rest;
  return std::exp(log_p > 0 ? T(0) : log_p);
}

// A warp owns a query, a block four neighbours: dq, and delta for those who own rows.
template <class T, int N>
__global__ void block_attention_grad_plain_queries(GradArguments<T> args) {
  SharedMemory shared;
  const Arguments<T>& in = args.in;
  const Work work(in.q.dim(1), (in.sight().queries + kGroupWarps - 1) / kGroupWarps, in.width);
  const Index b = work.b, h = work.h;
  const HeadTable<T>* const tables = head_tables(in, b, h, shared);
  const GroupScratch<T> scratch(shared);
  const Walkers walkers{false};
  const int i = static_cast<int>(work.unit * kGroupWarps + threadIdx.x / kWarp);
  if (i >= in.sight().queries) return;
  GroupSums<N, T> sums;
  T delta = 0;
  if (in.alive.sample(b).query(i) && args.lse(b, h, i) != -std::numeric_limits<T>::infinity()) {
    const T *const dout = &args.dout(b, h, i, 0), *const out[kGroupRows] = {&args.out(b, h, i, 0)};
    delta = __shfl_sync(kWholeWarp, dot_rows<N>(dout, out, in.value_width), GroupLane().base);  // of row 0
    if (args.dlse.data() != nullptr) delta -= args.dlse(b, h, i);
    const T lse = args.lse(b, h, i), rest = args.lse_rest(b, h, i);
    for_entries<T, N>(in, tables, b, h, i, &in.q(b, h, i, 0), [&](const auto& k, const auto& v, T logit, T factor) {
      const T dp = dot_rows<N>(dout, v, in.value_width);
      sums.add(weight_of(logit, lse, rest) * (factor * dp - delta), k, work.column, in.width);
    });
  }
  add_walkers(sums, walkers, scratch);
  if (!walkers.writes()) return;
  sums.store(&args.dq(b, h, i, 0), in.scale, work.column, in.width);
  if (work.column == 0 && GroupLane().lane == 0) args.delta[work.head * in.sight().queries + i] = delta;
}

// Rows of the tables as blocks own them: first those that a warp owns, four to a block, then the others.
struct RowOwners {
  int alone;     // rows of the first table, or tables, that warps own
  int together;  // rows at the end of the last table

  explicit RowOwners(const BlockSight& sight) {
    const int all = sight.n + sight.tables * sight.summaries;
    alone = all;
    if (sight.kind == BlockKind::fixed) alone = sight.n;
    if (sight.kind == BlockKind::logsparse && sight.levels() >= kLongLevel)
      alone = sight.n + sight.level_start(kLongLevel);
    together = all - alone;
  }
  __host__ __device__ Index units() const { return (alone + kGroupWarps - 1) / kGroupWarps + together; }
};

// Owns rows of tables: dk and dv are what the queries that see the row give.
template <class T, int N>
__global__ void block_attention_grad_plain_rows(GradArguments<T> args, RowOwners owners) {
  SharedMemory shared;
  const Arguments<T>& in = args.in;
  const Work work(in.q.dim(1), owners.units(), in.width > in.value_width ? in.width : in.value_width);
  const Index b = work.b, h = work.h, heads = in.q.dim(1);
  const HeadTable<T>* const tables = head_tables(in, b, h, shared);
  const GroupScratch<T> scratch(shared);
  const int blocks_alone = (owners.alone + kGroupWarps - 1) / kGroupWarps;
  const Walkers walkers{work.unit >= blocks_alone};
  const int row = static_cast<int>(walkers.whole_block ? owners.alone + work.unit - blocks_alone
                                                       : work.unit * kGroupWarps + threadIdx.x / kWarp);
  if (!walkers.whole_block && row >= owners.alone) return;
  const int t = row < in.sight().n ? 0 : 1 + (row - in.sight().n) / in.sight().summaries;
  const int r = t == 0 ? row : (row - in.sight().n) % in.sight().summaries;
  const HeadTable<T> table = tables[t];
  const Alive::Sample alive = in.alive.sample(b);
  GroupSums<N, T> dk, dv;
  if (alive.row(t, r)) {
    const T *const k = table.k + r * table.k_row, *const v = table.v + r * table.v_row;
    for (int part = 0; part < 2; ++part) {
      const Stretch queries = in.sight().queries_of(t, r, part);
      for (int from = 0; from < queries.count; from += walkers.count() * kGroupRows) {
        const int first = from + walkers.number() * kGroupRows, own = first + GroupLane().row, i = queries.at(own);
        const bool sees = queries.has(own) && alive.query(i);
        const T *q[kGroupRows], *dout[kGroupRows];
#pragma unroll
        for (int x = 0; x < kGroupRows; ++x) {
          const bool there = __shfl_sync(kWholeWarp, sees ? 1 : 0, GroupLane().base + x) != 0;
          q[x] = there ? &in.q(b, h, queries.at(first + x), 0) : nullptr;
          dout[x] = there ? &args.dout(b, h, queries.at(first + x), 0) : nullptr;
        }
        const T logit = in.scale * dot_rows<N>(k, q, in.width), dp = dot_rows<N>(v, dout, in.value_width);
        T p = 0, ds = 0;
        if (sees) {
          const bool drops = in.dropout.active && t == 0;
          const T factor = drops ? static_cast<T>(in.dropout.factor(b, Index{i} * heads + h, r)) : T(1);
          p = weight_of(logit, args.lse(b, h, i), args.lse_rest(b, h, i));
          ds = p * (factor * dp - args.delta[work.head * in.sight().queries + i]);
          p *= factor;
        }
        dk.add(ds, q, work.column, in.width);
        dv.add(p, dout, work.column, in.value_width);
      }
    }
  }
  add_walkers(dk, walkers, scratch);
  add_walkers(dv, walkers, scratch);
  if (!walkers.writes()) return;
  dk.store(table.dk + r * table.dk_row, in.scale, work.column, in.width);
  dv.store(table.dv + r * table.dv_row, T(1), work.column, in.value_width);
}

template <class T>
std::size_t shared_bytes() {
  return shared_size<HeadTable<T>>(kMostTables) + GroupScratch<T>::bytes();
}

template <class T, class F, class... Tensors>
void with_pack_of_all(const F& f, const std::vector<Summaries>& summaries, const Tensors&... tensors) {
  Tensor some[2 * (kMostTables - 1)];
  for (std::size_t t = 0; t < summaries.size(); ++t) {
    some[2 * t] = summaries[t].k;
    some[2 * t + 1] = summaries[t].v;
  }
  with_row_pack<T>(f, some[0], some[1], some[2], some[3], some[4], some[5], some[6], some[7], tensors...);
}

}  // namespace

void block_attention_plain(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                           const Alive& alive, const BlockAttentionOptions& options, BlockAttentionOutput& result) {
  constexpr const char* kOp = "block_attention";
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    const ForwardArguments<T> args{Arguments<T>(q, k, v, summaries, alive, options), result.out.view<T, 4>(),
                                   result.lse.view<T, 3>(), result.lse_rest.view<T, 3>()};
    with_pack_of_all<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          const Index units = (q.dim(2) + kGroupWarps - 1) / kGroupWarps;
          const Index blocks = q.dim(0) * q.dim(1) * units * chunks_of(args.in.value_width);
          launch(block_attention_plain_queries<T, N>, dim3(blocks_for(kOp, blocks, 1)), dim3(kGroupThreads),
                 shared_bytes<T>(), current_stream(), args);
        },
        summaries, q, k, v, result.out);
  });
}

void block_attention_grad_plain(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                const Tensor& v, const std::vector<Summaries>& summaries,
                                const BlockAttentionOutput& forward, const Alive& alive,
                                const BlockAttentionOptions& options, BlockAttentionGrads& grads) {
  constexpr const char* kOp = "block_attention_grad";
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    Tensor delta = empty(forward.lse.shape(), q.dtype(), q.device(), kOp);
    const View<const T, 3> no_dlse(nullptr, {0, 0, 0}, {0, 0, 0});
    GradArguments<T> args{Arguments<T>(q, k, v, summaries, alive, options),
                          dout.view<const T, 4>(),
                          forward.out.view<const T, 4>(),
                          forward.lse.view<const T, 3>(),
                          forward.lse_rest.view<const T, 3>(),
                          dlse.defined() ? dlse.view<const T, 3>() : no_dlse,
                          delta.data<T>(),
                          grads.dq.view<T, 4>()};
    args.in.tables[0].dk = TableRows<T>(grads.dk);
    args.in.tables[0].dv = TableRows<T>(grads.dv);
    for (std::size_t t = 0; t < summaries.size(); ++t) {
      args.in.tables[t + 1].dk = TableRows<T>(grads.dsummaries[t].k);
      args.in.tables[t + 1].dv = TableRows<T>(grads.dsummaries[t].v);
    }
    with_pack_of_all<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          const Index heads = q.dim(0) * q.dim(1), units = (q.dim(2) + kGroupWarps - 1) / kGroupWarps;
          launch(block_attention_grad_plain_queries<T, N>,
                 dim3(blocks_for(kOp, heads * units * chunks_of(args.in.width), 1)), dim3(kGroupThreads),
                 shared_bytes<T>(), current_stream(), args);
          const RowOwners owners(alive.sight);
          const Index blocks = heads * owners.units() * chunks_of(std::max(args.in.width, args.in.value_width));
          launch(block_attention_grad_plain_rows<T, N>, dim3(blocks_for(kOp, blocks, 1)), dim3(kGroupThreads),
                 shared_bytes<T>(), current_stream(), args, owners);
        },
        summaries, dout, q, k, v, forward.out, grads.dq, grads.dk, grads.dv);
  });
}

}  // namespace subquad::kernels::cuda
