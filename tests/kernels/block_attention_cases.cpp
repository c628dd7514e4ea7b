#include "subquad/tests/kernels/block_attention_cases.h"

#include <cmath>
#include <limits>
#include <ostream>

namespace subquad::test::block_attention_cases {

std::ostream& operator<<(std::ostream& out, const BlockCase& c) {
  static constexpr const char* kNames[] = {"fixed",    "logsparse", "vertical", "horizontal", "mixture",
                                           "rowmajor", "row",       "column",   "window"};
  return out << kNames[static_cast<int>(c.pattern.kind)] << " size " << c.pattern.size << " causal " << c.pattern.causal
             << " own_span " << c.pattern.own_span << " sight " << static_cast<int>(c.pattern.sight) << " N " << c.n
             << " E " << c.width << " C " << c.value_width << " B " << c.batch << " padding "
             << static_cast<int>(c.padding);
}

std::vector<BlockPattern> all_patterns(Index size) {
  std::vector<BlockPattern> all;
  for (const bool causal : {false, true})
    for (const BlockKind kind : {BlockKind::fixed, BlockKind::logsparse, BlockKind::vertical, BlockKind::horizontal,
                                 BlockKind::mixture, BlockKind::rowmajor, BlockKind::window})
      all.push_back({.kind = kind, .size = size, .causal = causal});
  for (const BlockKind kind : {BlockKind::fixed, BlockKind::rowmajor})
    all.push_back({.kind = kind, .size = size, .own_span = true});
  for (const BlockKind kind : {BlockKind::row, BlockKind::column})
    for (const LineSight sight : {LineSight::all, LineSight::before, LineSight::after})
      all.push_back({.kind = kind, .size = size, .sight = sight});
  return all;
}

namespace {

Mask make_mask(const BlockCase& c) {
  if (c.padding == BlockCase::Padding::none) return {};
  Tensor real = zeros({c.batch, c.n}, kBool, kCpu);
  for (Index b = 0; b < c.batch; ++b)
    for (Index i = 0; i < c.n; ++i) {
      const Index length = b == 0 ? c.n : b == 1 ? 2 * c.n / 3 : 0;  // the third sample has none
      const bool scattered = (i * 7 + b * 3) % 5 < 3 && i / 4 % 3 != b;
      real.data<bool>()[b * c.n + i] = c.padding == BlockCase::Padding::prefix ? i < length : scattered && length > 0;
    }
  return Mask::from_bool(real);
}

// Does query i see token j?
bool sees_token(const BlockPattern& p, Index i, Index j) {
  const Index s = p.size;
  switch (p.kind) {
    case BlockKind::fixed:
    case BlockKind::rowmajor: return i / s == j / s && (!p.causal || j <= i);
    case BlockKind::logsparse: return j == i || (j == (i ^ 1) && (!p.causal || j < i));
    case BlockKind::vertical:
    case BlockKind::horizontal:
    case BlockKind::mixture: return (i / s == j / s || i % s == j % s) && (!p.causal || j <= i);
    case BlockKind::row:
    case BlockKind::column: {
      const bool line = p.kind == BlockKind::row ? i / s == j / s : i % s == j % s;
      return line && (p.sight == LineSight::all || (p.sight == LineSight::before ? j < i : j > i));
    }
    case BlockKind::window: return std::abs(i - j) <= s && (!p.causal || j <= i);
  }
  return false;
}

// Is table t the grid summaries: 0 above, 1 below, 2 left, 3 right? Mixture holds all, others some.
int grid_part(const BlockPattern& p, std::size_t t) {
  const int number = static_cast<int>(t);
  if (p.kind == BlockKind::vertical) return number;
  if (p.kind == BlockKind::horizontal) return 2 + number;
  return p.causal && number > 0 ? number + 1 : number;
}

struct Block {
  int level;
  Index number;
};
Block block_of_row(Index row, Index n) {
  for (int level = 1;; ++level) {
    const Index count = (n + (Index{1} << level) - 1) >> level;
    if (row < count) return {level, row};
    row -= count;
  }
}

bool sees_summary(const BlockPattern& p, Index n, std::size_t t, Index i, Index row) {
  const Index s = p.size;
  switch (p.kind) {
    case BlockKind::fixed: return p.causal ? row < i / s : p.own_span || row != i / s;
    case BlockKind::logsparse: {
      const Block block = block_of_row(row, n);
      return block.number == ((i >> block.level) ^ 1) && (!p.causal || (i >> block.level & 1) == 1);
    }
    case BlockKind::rowmajor: return i % s == row % s && (p.causal ? row / s < i / s : p.own_span || row / s != i / s);
    default:
      if (grid_part(p, t) < 2) return row / s == i / s && row % s != i % s;
      return row % s == i % s && (p.causal ? row / s < i / s : row / s != i / s);
  }
}

// Does row `row` of table t stand for token j?
bool stands_for(const BlockPattern& p, Index n, std::size_t t, Index row, Index j) {
  const Index s = p.size;
  switch (p.kind) {
    case BlockKind::fixed: return j / s == row;
    case BlockKind::logsparse: {
      const Block block = block_of_row(row, n);
      return j >> block.level == block.number;
    }
    case BlockKind::rowmajor: return j == row;
    default:
      switch (grid_part(p, t)) {
        case 0: return j % s == row % s && j < row;
        case 1: return j % s == row % s && j > row;
        case 2: return j / s == row / s && j < row;
        default: return j / s == row / s && j > row;
      }
  }
}

struct Row {  // of a table: its key and value, and their gradients
  const double *k, *v;
  double *dk, *dv;
};

}  // namespace

bool running(const BlockPattern& pattern) {
  return (pattern.kind == BlockKind::row || pattern.kind == BlockKind::column) && pattern.sight != LineSight::all;
}

BlockInputs make_inputs(const BlockCase& c, DType dtype) {
  const auto draw = [&](Index rows, Index width, std::uint64_t seed) {
    return normal({c.batch, c.heads, rows, width}, dtype, seed);
  };
  const Index queries = kernels::query_rows(c.pattern, c.n);
  BlockInputs in{draw(queries, c.width, 1),
                 draw(c.n, c.width, 2),
                 draw(c.n, c.value_width, 3),
                 draw(queries, c.value_width, 4),
                 normal({c.batch, c.heads, queries}, dtype, 5),
                 {},
                 make_mask(c).to(device())};
  std::uint64_t seed = 6;
  for (const Index rows : kernels::summary_rows(c.pattern, c.n)) {
    in.summaries.push_back({draw(rows, c.width, seed), draw(rows, c.value_width, seed + 1)});
    seed += 2;
  }
  return in;
}

BlockExpected slow_block_attention(const BlockCase& c, const BlockInputs& in) {
  const Tensor q = doubles(in.q), dout = doubles(in.dout), dlse = doubles(in.dlse);
  std::vector<Summaries> tables = {{doubles(in.k), doubles(in.v)}}, grads;
  for (const Summaries& t : in.summaries) tables.push_back({doubles(t.k), doubles(t.v)});
  for (const Summaries& t : tables) grads.push_back({zeros_like(t.k), zeros_like(t.v)});
  BlockExpected want{zeros_like(dout), zeros_like(dlse), zeros_like(q), {}, {}, {}};
  const double scale = 1 / std::sqrt(static_cast<double>(c.width));
  const Mask mask = in.mask.to(kCpu);
  const auto real = [&](Index b, Index j) { return !mask.defined() || mask.real.data<bool>()[b * c.n + j]; };

  for (Index head = 0; head < c.batch * c.heads; ++head) {
    const Index b = head / c.heads;
    const auto row_of = [&](std::size_t t, Index row) {
      const Index at = head * tables[t].k.dim(2) + row;
      return Row{tables[t].k.data<double>() + at * c.width, tables[t].v.data<double>() + at * c.value_width,
                 grads[t].k.data<double>() + at * c.width, grads[t].v.data<double>() + at * c.value_width};
    };
    std::vector<std::vector<Index>> alive(tables.size());  // rows of summaries that stand for a real token
    for (std::size_t t = 1; t < tables.size(); ++t)
      for (Index row = 0; row < tables[t].k.dim(2); ++row) {
        bool any = false;
        for (Index j = 0; j < c.n && !any; ++j) any = real(b, j) && stands_for(c.pattern, c.n, t - 1, row, j);
        if (any) alive[t].push_back(row);
      }
    for (Index i = 0; i < q.dim(2); ++i) {
      const bool sees = running(c.pattern) || real(b, i);
      std::vector<Row> rows;
      for (Index j = 0; sees && j < c.n; ++j)
        if (real(b, j) && sees_token(c.pattern, i, j)) rows.push_back(row_of(0, j));
      for (std::size_t t = 1; sees && t < tables.size(); ++t)
        for (const Index row : alive[t])
          if (sees_summary(c.pattern, c.n, t - 1, i, row)) rows.push_back(row_of(t, row));
      const Index at = head * q.dim(2) + i;
      const double* q_row = q.data<double>() + at * c.width;
      const double* up = dout.data<double>() + at * c.value_width;
      double* dq = want.dq.data<double>() + at * c.width;
      double* out = want.out.data<double>() + at * c.value_width;
      std::vector<double> p(rows.size(), 0);
      double top = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::size_t r = 0; r < rows.size(); ++r) {
        for (Index e = 0; e < c.width; ++e) p[r] += scale * q_row[e] * rows[r].k[e];
        top = std::max(top, p[r]);
      }
      for (double& x : p) sum += x = std::exp(x - top);
      want.lse.data<double>()[at] = rows.empty() ? top : top + std::log(sum);
      double delta = -dlse.data<double>()[at];
      for (std::size_t r = 0; r < rows.size(); ++r) {
        p[r] /= sum;
        for (Index e = 0; e < c.value_width; ++e) out[e] += p[r] * rows[r].v[e];
      }
      for (Index e = 0; e < c.value_width; ++e) delta += up[e] * out[e];
      for (std::size_t r = 0; r < rows.size(); ++r) {
        double ds = -delta;
        for (Index e = 0; e < c.value_width; ++e) ds += up[e] * rows[r].v[e];
        ds *= p[r];
        for (Index e = 0; e < c.value_width; ++e) rows[r].dv[e] += p[r] * up[e];
        for (Index e = 0; e < c.width; ++e) {
          dq[e] += scale * ds * rows[r].k[e];
          rows[r].dk[e] += scale * ds * q_row[e];
        }
      }
    }
  }
  want.dk = grads[0].k;
  want.dv = grads[0].v;
  want.dsummaries.assign(grads.begin() + 1, grads.end());
  return want;
}

std::vector<Tensor> BlockResults::all() const {
  std::vector<Tensor> tensors = {forward.out, forward.lse, forward.lse_rest, grads.dq, grads.dk, grads.dv};
  for (const Summaries& t : grads.dsummaries) {
    tensors.push_back(t.k);
    tensors.push_back(t.v);
  }
  return tensors;
}

BlockResults run(const BlockCase& c, const BlockInputs& in, const BlockAttentionOptions& options) {
  BlockResults results;
  results.forward = kernels::block_attention(in.q, in.k, in.v, in.summaries, c.pattern, in.mask, options);
  results.grads = kernels::block_attention_grad(in.dout, in.dlse, in.q, in.k, in.v, in.summaries, results.forward,
                                                c.pattern, in.mask, options);
  return results;
}

}  // namespace subquad::test::block_attention_cases
