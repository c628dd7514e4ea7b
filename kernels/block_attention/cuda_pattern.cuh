// Who sees whom in block_attention, as arithmetic on positions: what sight.h answers on the CPU with lists of entries.
// The mask lives on the device, so that no list can be made on the host.
#pragma once

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/block_attention/block_attention.h"
#include "subquad/kernels/warp/reals.cuh"

namespace subquad::kernels::cuda {

// The numbers first, first + step, ..., `count` of them, but for the skip-th. In the entries of logsparse's summaries,
// `first` is a query and the e-th number the row beside it in level e + 1: BlockSight::row_of.
struct Stretch {
  int first, step, count, skip;  // skip -1: none

  __device__ int at(int e) const { return first + e * step; }
  __device__ bool has(int e) const { return e < count && e != skip; }
};

struct Entries {
  int table;  // 0: the tokens; 1, 2, ...: summaries
  Stretch rows;
};

class BlockSight {
 public:
  BlockSight(const BlockPattern& pattern, Index positions)
      : kind(pattern.kind),
        sight(pattern.sight),
        causal(pattern.causal),
        own_span(pattern.own_span),
        n(static_cast<int>(positions)),
        size(static_cast<int>(std::min(pattern.size, std::max<Index>(positions, 1)))),  // a larger one means the same
        queries(static_cast<int>(query_rows(pattern, positions))) {
    const std::vector<Index> rows = summary_rows(pattern, positions);
    tables = static_cast<int>(rows.size());
    summaries = rows.empty() ? 0 : static_cast<int>(rows[0]);
    if (kind == BlockKind::logsparse)
      while ((Index{2} << levels) < n) ++levels;
  }

  BlockKind kind;
  LineSight sight;
  bool causal, own_span;
  int n, size, queries;
  int tables = 0, summaries = 0;  // summary tables, and rows of each
  int levels = 0;                 // logsparse

  __host__ __device__ bool every_cell() const { return is_line() && sight != LineSight::all; }

  // What a query sees: so many stretches of entries, some of them empty.
  __device__ int stretches() const {
    return (is_grid() ? 2 : kind == BlockKind::window || is_line() ? 1 : 2) + (is_grid() ? tables : 0);
  }
  __device__ Entries entries_of(int i, int k) const {
    if (kind == BlockKind::logsparse) {
      if (k > 0) return {1, {i, 0, levels, -1}};
      return {0, pair_of(i, false)};
    }
    if (kind == BlockKind::window) {
      const int all = n - i <= size ? n : i + size + 1;
      return {0, until(i < size ? 0 : i - size, causal ? i + 1 : all)};
    }
    const int g = i / size, y = i % size;
    if (kind == BlockKind::row) return {0, sight == LineSight::all ? row(g, -1) : part_of_row(g, y, sight)};
    if (kind == BlockKind::column) return {0, sight == LineSight::all ? column(y, -1) : part_of_column(g, y, sight)};
    if (k == 0) return {0, causal ? until(g * size, i + 1) : row(g, -1)};
    const int hidden = causal || own_span ? -1 : g;
    if (kind == BlockKind::fixed) return {1, Stretch{0, 1, causal ? g : summaries, hidden}};
    if (kind == BlockKind::rowmajor) return {1, Stretch{y, size, causal ? g : column_count(y), hidden}};
    if (k == 1) return {0, Stretch{y, size, causal ? g : column_count(y), hidden}};
    const int table = k - 1;
    if (of_columns(table)) return {table, Stretch{g * size, 1, size, y}};
    return {table, Stretch{y, size, causal ? g : summaries / size, hidden}};
  }

  // Row e of such entries, -1 where there is none.
  __device__ int row_of(const Entries& entries, int e) const {
    if (kind == BlockKind::logsparse && entries.table == 1)
      return e < levels ? sibling_of(entries.rows.first, e + 1) : -1;
    return entries.rows.has(e) ? entries.rows.at(e) : -1;
  }

  // The queries that see a row of a table, in at most two stretches.
  __device__ Stretch queries_of(int table, int r, int k) const {
    if (kind == BlockKind::logsparse) return k > 0 ? nothing() : table == 0 ? pair_of(r, true) : sibling_queries(r);
    if (kind == BlockKind::window) {
      const int end = n - r <= size ? n : r + size + 1;
      return k > 0 ? nothing() : until(causal ? r : r < size ? 0 : r - size, end);
    }
    if (kind == BlockKind::fixed && table == 1) {
      if (own_span) return k == 0 ? until(0, n) : nothing();
      if (k == 0) return causal ? nothing() : until(0, r * size);
      return until((r + 1) * size, n);
    }
    const int g = r / size, y = r % size;
    if (is_line()) return k > 0 ? nothing() : queries_of_line(g, y);
    if (table == 0 && k == 0) return causal ? until(r, row_end(g)) : row(g, -1);
    if (table > 0 && k > 0) return nothing();
    if (table == 0 && !is_grid()) return nothing();
    if (is_grid() && table > 0 && of_columns(table)) return row(g, y);
    if (causal) return below(g, y);
    return column(y, table > 0 && own_span ? -1 : g);
  }

  // The tokens that a row of a table stands for.
  __device__ Stretch tokens_of(int table, int r) const {
    if (table == 0 || kind == BlockKind::rowmajor) return {r, 1, 1, -1};
    if (kind == BlockKind::fixed) return row(r, -1);
    if (kind == BlockKind::logsparse) {
      const int level = level_of(r);
      return block(level, r - level_start(level));
    }
    const int g = r / size, y = r % size;
    const bool first = of_columns(table) ? table == 1 : table == tables - 1;
    const LineSight part = first ? LineSight::before : LineSight::after;
    return of_columns(table) ? part_of_column(g, y, part) : part_of_row(g, y, part);
  }

  // logsparse: rows of the table from this level on stand for 2^level tokens, and are seen by as many.
  __host__ __device__ int level_start(int level) const {
    const int last = n - 1, rest = last >> (level - 1);  // the sum over m of floor(x / 2^m) is x less its bits
    return level - 1 + (last - bits_of(last)) - (rest - bits_of(rest));
  }
  // The row that all queries of block c of a level see, -1 where there is none, and the block that sees a row: the
  // neighbour of both.
  __device__ int sibling_row(int level, int c) const {
    const int other = c ^ 1;
    return other <= (n - 1) >> level && (!causal || other < c) ? level_start(level) + other : -1;
  }
  __device__ int level_of(int r) const {
    int level = 1;
    while (level < levels && r >= level_start(level + 1)) ++level;
    return level;
  }

 private:
  __host__ __device__ bool is_grid() const {
    return kind == BlockKind::vertical || kind == BlockKind::horizontal || kind == BlockKind::mixture;
  }
  __host__ __device__ bool is_line() const { return kind == BlockKind::row || kind == BlockKind::column; }
  // Is this a table of what stands above or below a cell? They come first; what stands left and right are the last two.
  __device__ bool of_columns(int table) const {
    return kind == BlockKind::vertical || (kind == BlockKind::mixture && table <= tables - 2);
  }

  __device__ static Stretch nothing() { return {0, 1, 0, -1}; }
  __device__ static Stretch until(int first, int end) { return {first, 1, end > first ? end - first : 0, -1}; }
  __device__ int row_end(int g) const { return (g + 1) * size < n ? (g + 1) * size : n; }
  __device__ Stretch row(int g, int skip) const { return {g * size, 1, row_end(g) - g * size, skip}; }
  __device__ int column_count(int y) const { return y < n ? (n - y + size - 1) / size : 0; }
  __device__ Stretch column(int y, int skip) const { return {y, size, column_count(y), skip}; }
  __device__ Stretch below(int g, int y) const {
    const int count = column_count(y) - g - 1;
    return {y + (g + 1) * size, size, count > 0 ? count : 0, -1};
  }
  // The tokens before or after a cell, which may stand behind the last of them.
  __device__ Stretch part_of_row(int g, int y, LineSight part) const {
    const int i = g * size + y;
    return part == LineSight::before ? until(g * size, i < n ? i : n) : until(i + 1, row_end(g));
  }
  __device__ Stretch part_of_column(int g, int y, LineSight part) const {
    const int count = column_count(y);
    return part == LineSight::before ? Stretch{y, size, g < count ? g : count, -1} : below(g, y);
  }
  // row, column: the cells, or with sight `all` the tokens, that see the token.
  __device__ Stretch queries_of_line(int g, int y) const {
    const bool along_row = kind == BlockKind::row;
    if (sight == LineSight::all) return along_row ? row(g, -1) : column(y, -1);
    const int i = g * size + y;
    if (sight == LineSight::before)
      return along_row ? until(i + 1, (g + 1) * size) : Stretch{i + size, size, queries / size - g - 1, -1};
    return along_row ? until(g * size, i) : Stretch{y, size, g, -1};
  }

  __host__ __device__ static int bits_of(int number) {
    auto x = static_cast<unsigned>(number);
    x -= x >> 1 & 0x55555555u;  // in pairs, nibbles, bytes, and all
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0fu;
    return static_cast<int>(x * 0x01010101u >> 24);
  }
  // logsparse, level 0: i and i XOR 1, if causal only the earlier (of a token's queries: later) one.
  __device__ Stretch pair_of(int i, bool later) const {
    const int even = i & ~1, end = even + 2 < n ? even + 2 : n;
    if (!causal) return until(even, end);
    return later ? until(i, end) : until(even, i + 1);
  }
  __device__ Stretch block(int level, int c) const {
    const int first = c << level, end = n - first > (1 << level) ? first + (1 << level) : n;
    return until(first, end);
  }
  __device__ int sibling_of(int i, int level) const { return sibling_row(level, i >> level); }
  __device__ Stretch sibling_queries(int r) const {
    const int level = level_of(r), c = r - level_start(level);
    if ((c ^ 1) > (n - 1) >> level || (causal && c % 2 != 0)) return nothing();
    return block(level, c ^ 1);
  }
};

// Which rows of tables hold a real token, and which queries count.
struct Alive {
  BlockSight sight;
  Reals reals;
  const bool* flags;  // as block_attention_alive makes them, where the mask is no prefix; else null

  struct Sample {
    const BlockSight& sight;
    SampleReals reals;
    const bool* flags;

    __device__ bool query(int i) const { return i < sight.queries && (sight.every_cell() || reals[i]); }
    __device__ bool row(int table, int r) const {
      if (table == 0) return reals[r];
      if (flags != nullptr) return flags[(table - 1) * sight.summaries + r];
      const Stretch tokens = sight.tokens_of(table, r);
      return tokens.count > 0 && tokens.first < reals.end;  // the first of them is the first to be real
    }
  };
  __device__ Sample sample(Index b) const {
    return {sight, reals.sample(b), flags == nullptr ? nullptr : flags + b * sight.tables * sight.summaries};
  }
};

// bool [B, tables, rows]: does this row of a summary table stand for a real token? For masks that are no prefix.
Tensor block_attention_alive(const BlockSight& sight, const Mask& mask);

}  // namespace subquad::kernels::cuda
