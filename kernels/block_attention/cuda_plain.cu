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
      const int own = in.sight().row_of(entries, from + walkers.number() * kGroupRows + own_x);
      const bool seen = own >= 0 && alive.row(entries.table, own);
      const T *k[kGroupRows], *v[kGroupRows];
#pragma unroll
      for (int x = 0; x < kGroupRows; ++x) {
        const int row = __shfl_sync(kWholeWarp, seen ? own : -1, GroupLane().base + x);
        k[x] = row < 0 ? nullptr : table.k + row * table.k_row;
        v[x] = row < 0 ? nullptr : table.v + row * table.v_row;
      }
      const T logit = in.scale * dot_rows<N>(q, k, in.width);
      const bool drops = in.dropout.active && entries.table == 0 && seen;
      const T factor = drops ? static_cast<T>(in.dropout.factor(b, Index{i} * in.q.dim(1) + h, own)) : T(1);
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

// The rows of logsparse that more than kPieceQueries see are shared by blocks, each of which has the queries of one
// piece of the positions; what they find is added in order. Cut by position, so that padding changes no bit.
constexpr int kPieceLevel = 10, kPieceQueries = 1 << kPieceLevel;

struct SharedRows {
  int levels = 0, pieces = 0;  // that have such rows; of the positions
  int first = 0, rows = 0;     // in the table

  explicit SharedRows(const BlockSight& sight) {
    if (sight.levels <= kPieceLevel) return;
    levels = sight.levels - kPieceLevel;
    pieces = (sight.n + kPieceQueries - 1) / kPieceQueries;
    first = sight.level_start(kPieceLevel + 1);
    rows = sight.summaries - first;
  }
  __host__ __device__ int units() const { return levels * pieces; }
};

// Rows of the tables as blocks own them: first those that a warp owns, four to a block, then those of a block, then
// pieces of rows.
struct RowOwners {
  int alone;     // rows of the first table, or tables, that warps own
  int together;  // rows behind them that blocks own
  SharedRows shared;

  explicit RowOwners(const BlockSight& sight) : shared(sight) {
    const int all = sight.n + sight.tables * sight.summaries - shared.rows;
    alone = all;
    if (sight.kind == BlockKind::fixed) alone = sight.n;
    if (sight.kind == BlockKind::logsparse && sight.levels >= kLongLevel)
      alone = sight.n + sight.level_start(kLongLevel);
    together = all - alone;
  }
  __host__ __device__ int blocks_alone() const { return (alone + kGroupWarps - 1) / kGroupWarps; }
  __host__ __device__ Index units() const { return Index{blocks_alone()} + together + shared.units(); }
};

// What a warp or block owns.
struct OwnedRow {
  int table = 0, row = -1;  // -1: nothing
  bool whole_block;
  int piece = -1;  // of a shared row: its number among all
  int first = 0;   // position of the piece

  __device__ OwnedRow(const BlockSight& sight, const RowOwners& owners, int unit)
      : whole_block(unit >= owners.blocks_alone()) {
    const int behind = unit - owners.blocks_alone();
    if (behind >= owners.together) {
      piece = behind - owners.together;
      first = piece % owners.shared.pieces * kPieceQueries;
      const int level = kPieceLevel + 1 + piece / owners.shared.pieces;
      table = 1;
      row = sight.sibling_row(level, first >> level);
      return;
    }
    const int number = whole_block ? owners.alone + behind : unit * kGroupWarps + static_cast<int>(threadIdx.x) / kWarp;
    if (!whole_block && number >= owners.alone) return;
    table = number < sight.n ? 0 : 1 + (number - sight.n) / sight.summaries;
    row = table == 0 ? number : (number - sight.n) % sight.summaries;
  }

  // In two stretches, one of which may be empty.
  __device__ Stretch queries(const BlockSight& sight, int part) const {
    Stretch all = sight.queries_of(table, row, part);
    if (piece >= 0 && all.count > 0) {
      all.first = first;
      all.count = sight.n - first < kPieceQueries ? sight.n - first : kPieceQueries;
    }
    return all;
  }
};

// Owns rows of tables: dk and dv are what the queries that see the row give. Of a shared row, parts [B H, pieces, E +
// C] get what one piece gives.
template <class T, int N>
__global__ void block_attention_grad_plain_rows(GradArguments<T> args, RowOwners owners, T* parts) {
  SharedMemory shared;
  const Arguments<T>& in = args.in;
  const Work work(in.q.dim(1), owners.units(), in.width > in.value_width ? in.width : in.value_width);
  const Index b = work.b, h = work.h, heads = in.q.dim(1);
  const HeadTable<T>* const tables = head_tables(in, b, h, shared);
  const GroupScratch<T> scratch(shared);
  const OwnedRow own_row(in.sight(), owners, static_cast<int>(work.unit));
  if (own_row.row < 0) return;
  const Walkers walkers{own_row.whole_block};
  const int t = own_row.table, r = own_row.row;
  const HeadTable<T> table = tables[t];
  const Alive::Sample alive = in.alive.sample(b);
  GroupSums<N, T> dk, dv;
  if (alive.row(t, r)) {
    const T *const k = table.k + r * table.k_row, *const v = table.v + r * table.v_row;
#pragma unroll 1  // costs registers otherwise
    for (int part = 0; part < 2; ++part) {
      const Stretch queries = own_row.queries(in.sight(), part);
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
  T *to_k = table.dk + r * table.dk_row, *to_v = table.dv + r * table.dv_row;
  if (own_row.piece >= 0) {
    to_k = parts + (work.head * owners.shared.units() + own_row.piece) * (in.width + in.value_width);
    to_v = to_k + in.width;
  }
  dk.store(to_k, in.scale, work.column, in.width);
  dv.store(to_v, T(1), work.column, in.value_width);
}

// A thread per column of a shared row adds what its pieces gave, in order.
constexpr int kSumThreads = 64;

template <class T>
__global__ void block_attention_sum_pieces(GradArguments<T> args, RowOwners owners, const T* parts, Index heads) {
  const Arguments<T>& in = args.in;
  const SharedRows& shared = owners.shared;
  const int columns = in.width + in.value_width;
  const Index thread = Index{blockIdx.x} * kSumThreads + threadIdx.x, row = thread / columns;
  if (row >= heads * shared.rows) return;
  const Index head = row / shared.rows, b = head / in.q.dim(1), h = head % in.q.dim(1);
  const int r = shared.first + static_cast<int>(row % shared.rows), column = static_cast<int>(thread % columns);
  const int level = in.sight().level_of(r);
  const Stretch queries = in.sight().queries_of(1, r, 0);
  const int begin = queries.first / kPieceQueries;
  const int end = queries.count == 0 ? begin : (queries.first + queries.count - 1) / kPieceQueries + 1;
  const T* const part = parts + (head * shared.units() + (level - kPieceLevel - 1) * shared.pieces) * columns + column;
  T sum = 0;
  for (int piece = begin; piece < end; ++piece) sum += part[Index{piece} * columns];
  const Table<T>& table = in.tables[1];
  if (column < in.width)
    table.dk.head(b, h)[r * table.dk.of_row + column] = sum;
  else
    table.dv.head(b, h)[r * table.dv.of_row + column - in.width] = sum;
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
          const Index columns = args.in.width + args.in.value_width;
          const Index blocks = heads * owners.units() * chunks_of(std::max(args.in.width, args.in.value_width));
          const SharedRows& shared = owners.shared;
          Tensor parts;
          if (shared.units() > 0) parts = empty({heads, shared.units(), columns}, q.dtype(), q.device(), kOp);
          T* const places = parts.defined() ? parts.data<T>() : nullptr;
          launch(block_attention_grad_plain_rows<T, N>, dim3(blocks_for(kOp, blocks, 1)), dim3(kGroupThreads),
                 shared_bytes<T>(), current_stream(), args, owners, places);
          if (!parts.defined()) return;
          launch(block_attention_sum_pieces<T>, dim3(blocks_for(kOp, heads * shared.rows * columns, kSumThreads)),
                 dim3(kSumThreads), 0, current_stream(), args, owners, places, heads);
        },
        summaries, dout, q, k, v, forward.out, grads.dq, grads.dk, grads.dv);
  });
}

}  // namespace subquad::kernels::cuda
