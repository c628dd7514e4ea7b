#include "subquad/kernels/block_attention/sight.h"

#include <algorithm>

namespace subquad::kernels {

namespace {

// Lines of patterns that have none of their own. 32 queries fill a strip of AVX-512 in float32, and see at most 62
// local entries under logsparse; a window of 64 queries amortises its two rims.
constexpr Index kLevelsLine = 32, kWindowLine = 64;

bool is_grid(BlockKind kind) {
  return kind == BlockKind::vertical || kind == BlockKind::horizontal || kind == BlockKind::mixture;
}

bool is_line(BlockKind kind) {
  return kind == BlockKind::row || kind == BlockKind::column;
}

Index ceil_div(Index a, Index b) {
  return (a + b - 1) / b;
}

}  // namespace

Index grid_cells(const BlockPattern& pattern, Index n) {
  const Index columns = std::min(pattern.size, std::max<Index>(n, 1));
  return ceil_div(n, columns) * columns;
}

Index query_rows(const BlockPattern& pattern, Index n) {
  return is_line(pattern.kind) && pattern.sight != LineSight::all ? grid_cells(pattern, n) : n;
}

std::vector<Index> summary_rows(const BlockPattern& pattern, Index n) {
  switch (pattern.kind) {
    case BlockKind::fixed: return {ceil_div(n, std::min(pattern.size, std::max<Index>(n, 1)))};
    case BlockKind::logsparse: {
      Index rows = 0;
      for (int level = 1; (Index{1} << level) < n; ++level) rows += ceil_div(n, Index{1} << level);
      return {rows};
    }
    case BlockKind::vertical: return std::vector<Index>(pattern.causal ? 1 : 2, grid_cells(pattern, n));
    case BlockKind::horizontal: return {grid_cells(pattern, n), grid_cells(pattern, n)};
    case BlockKind::mixture: return std::vector<Index>(pattern.causal ? 3 : 4, grid_cells(pattern, n));
    case BlockKind::rowmajor: return {n};
    case BlockKind::row:
    case BlockKind::column:
    case BlockKind::window: break;
  }
  return {};
}

Sight::Sight(const BlockPattern& pattern, const Mask& mask, Index batch, Index n)
    : pattern_(pattern),
      n_(n),
      cells_(is_grid(pattern.kind) || is_line(pattern.kind) ? grid_cells(pattern, n) : n),
      every_cell_(is_line(pattern.kind) && pattern.sight != LineSight::all),
      masked_(mask.defined()) {
  pattern_.size = std::min(pattern.size, std::max<Index>(n, 1));  // a larger one means the same
  const Index samples = masked_ ? batch : 1;
  counts_.resize(static_cast<std::size_t>(samples * (n + 1)));
  for (Index b = 0; b < samples; ++b) {
    Index* counts = counts_.data() + b * (n + 1);
    const bool* is_real = masked_ ? mask.real.data<bool>() + b * n : nullptr;
    counts[0] = 0;
    for (Index i = 0; i < n; ++i) counts[i + 1] = counts[i] + (is_real == nullptr || is_real[i] ? 1 : 0);
  }
  if (pattern.kind != BlockKind::vertical && pattern.kind != BlockKind::mixture) return;
  above_.resize(static_cast<std::size_t>(samples * cells_));
  below_.resize(above_.size());
  const Index columns = pattern_.size;
  for (Index b = 0; b < samples; ++b) {
    std::uint8_t *above = above_.data() + b * cells_, *below = below_.data() + b * cells_;
    for (Index i = columns; i < cells_; ++i) above[i] = above[i - columns] != 0 || real(b, i - columns);
    for (Index i = cells_ - columns - 1; i >= 0; --i) below[i] = below[i + columns] != 0 || real(b, i + columns);
  }
}

int Sight::stages() const {
  return is_grid(pattern_.kind) || pattern_.kind == BlockKind::rowmajor ? 2 : 1;
}

bool Sight::shares_rows() const {
  return pattern_.kind == BlockKind::fixed || pattern_.kind == BlockKind::logsparse ||
         pattern_.kind == BlockKind::window;
}

RowRange Sight::shared_rows(Index first_line, Index last_line) const {
  if (pattern_.kind == BlockKind::window) {
    const Index first = std::max<Index>(0, first_line * kWindowLine - pattern_.size);
    return {0, first, std::min(n_, last_line * kWindowLine + pattern_.size) - first};
  }
  const Index rows = shares_rows() ? summary_rows(pattern_, n_)[0] : 0;
  if (pattern_.kind == BlockKind::fixed) return {1, 0, rows};
  Index local = 0;  // blocks that lie in one line
  for (Index size = 2; size < std::min(kLevelsLine, n_); size *= 2) local += ceil_div(n_, size);
  return {1, local, rows - local};
}

Index Sight::extent(Index b) const {
  const Index* counts = counts_.data() + (masked_ ? b * (n_ + 1) : 0);
  return std::lower_bound(counts, counts + n_ + 1, counts[n_]) - counts;
}

bool Sight::any(Index b, Index begin, Index end) const {
  const Index* counts = counts_.data() + (masked_ ? b * (n_ + 1) : 0);
  return counts[std::min(end, n_)] > counts[std::min(begin, n_)];
}

Sight::Steps Sight::steps(int stage) const {
  const auto cut = [&](Index size) { return Steps{size, 1, size, ceil_div(n_, size)}; };
  if (pattern_.kind == BlockKind::logsparse) return cut(kLevelsLine);
  if (pattern_.kind == BlockKind::window) return cut(kWindowLine);
  if (stage == 0 && pattern_.kind != BlockKind::column) return cut(pattern_.size);
  return {1, pattern_.size, ceil_div(n_, pattern_.size), pattern_.size};
}

void Sight::find(Index b, int stage, Index number, Line& line) const {
  line.positions.clear();
  line.blind.clear();
  line.numbers.clear();
  line.entries.clear();
  const Steps along = steps(stage);
  line.to_next = along.between;
  line.summaries_follow = stages() > 1;
  for (Index t = 0; t < along.length; ++t) {
    const Index i = number * along.between + t * along.step;
    if (i >= (every_cell_ ? cells_ : n_)) break;
    if (!every_cell_ && !real(b, i)) {
      line.blind.push_back(i);
      continue;
    }
    line.positions.push_back(i);
    line.numbers.push_back(t);
  }
  if (!line.positions.empty()) see(b, stage, number, line);
  if (!line.entries.empty()) return;
  line.blind.insert(line.blind.end(), line.positions.begin(), line.positions.end());
  line.positions.clear();
  line.numbers.clear();
}

Columns Sight::find_columns(Index b, int stage, Index first, Index lanes) const {
  const Steps along = steps(stage);
  Columns columns;
  columns.first = first;
  columns.lanes = lanes;
  columns.between = along.step;
  columns.queries.resize(static_cast<std::size_t>(along.length));
  Line line;
  for (Index lane = 0; lane < lanes; ++lane) {
    const std::uint32_t bit = std::uint32_t{1} << lane;
    find(b, stage, first + lane, line);
    columns.blind.insert(columns.blind.end(), line.blind.begin(), line.blind.end());
    for (const Index row : line.numbers) columns.queries[static_cast<std::size_t>(row)] |= bit;
    for (const Entry& entry : line.entries) {
      auto table = std::find_if(columns.tables.begin(), columns.tables.end(),
                                [&](const Columns::Table& t) { return t.table == entry.table; });
      if (table == columns.tables.end())
        table = columns.tables.insert(table, {entry.table, std::vector<Columns::Cells>(columns.queries.size())});
      Columns::Cells& cells = table->rows[static_cast<std::size_t>(entry.row / along.step)];
      cells = {cells.alive | bit, entry.low, entry.high, entry.inverted};
    }
  }
  return columns;
}

void Sight::see(Index b, int stage, Index number, Line& line) const {
  const Steps along = steps(stage);
  const auto is_real = [&](Index i) { return real(b, i); };
  const Relation own = pattern_.causal ? Relation::up_to : Relation::all;
  const Relation across = pattern_.causal ? Relation::before : Relation::others;
  switch (pattern_.kind) {
    case BlockKind::fixed: see_line(along, number, 0, own, is_real, line); return see_segments(b, number, line);
    case BlockKind::logsparse: return see_levels(b, number, line);
    case BlockKind::vertical:
    case BlockKind::horizontal:
    case BlockKind::mixture:
      see_line(along, number, 0, stage == 0 ? own : across, is_real, line);
      return see_grid(b, stage, number, line);
    case BlockKind::rowmajor:
      if (stage == 0) return see_line(along, number, 0, own, is_real, line);
      return see_line(along, number, 1, pattern_.own_span ? Relation::all : across, is_real, line);
    case BlockKind::row:
    case BlockKind::column:
      return see_line(along, number, 0,
                      pattern_.sight == LineSight::all      ? Relation::all
                      : pattern_.sight == LineSight::before ? Relation::before
                                                            : Relation::after,
                      is_real, line);
    case BlockKind::window: return see_window(b, number, line);
  }
}

// The rows of a table that stand for the positions of the line itself.
template <class Alive>
void Sight::see_line(const Steps& along, Index g, int table, Relation relation, const Alive& alive, Line& line) const {
  for (Index t = 0; t < along.length; ++t) {
    const Index i = g * along.between + t * along.step;
    if (i >= cells_) break;
    if (!alive(i)) continue;
    switch (relation) {
      case Relation::all: line.entries.push_back({table, i, 0, along.length, false}); break;
      case Relation::up_to: line.entries.push_back({table, i, t, along.length, false}); break;
      case Relation::before: line.entries.push_back({table, i, t + 1, along.length, false}); break;
      case Relation::after: line.entries.push_back({table, i, 0, t, false}); break;
      case Relation::others: line.entries.push_back({table, i, t, t + 1, true}); break;
    }
  }
}

void Sight::see_segments(Index b, Index own, Line& line) const {
  // The own one stays among its neighbours, whose rows then are in one piece, but hidden from all.
  const Index size = pattern_.size, segments = pattern_.causal ? own : ceil_div(n_, size);
  for (Index g = 0; g < segments; ++g)
    if (any(b, g * size, (g + 1) * size))
      line.entries.push_back({1, g, 0, g != own || pattern_.own_span ? size : 0, false});
}

// Block c of level l is seen by the queries of its sibling c XOR 1, if causal only where that is the later one. Levels
// below the line's own have both siblings on the line; above it, the line lies in one block and sees one sibling.
void Sight::see_levels(Index b, Index g, Line& line) const {
  const Index begin = g * kLevelsLine, end = begin + kLevelsLine;
  for (Index i = begin; i < std::min(end, n_); ++i) {  // level 0, and each query itself
    if (!real(b, i)) continue;
    const Index t = i - begin;
    if (pattern_.causal)
      line.entries.push_back({0, i, t, t % 2 == 0 ? t + 2 : t + 1, false});
    else
      line.entries.push_back({0, i, t / 2 * 2, t / 2 * 2 + 2, false});
  }
  Index rows = 0;  // of the levels before
  for (int level = 1; (Index{1} << level) < n_; ++level) {
    const Index size = Index{1} << level, count = ceil_div(n_, size);
    if (size < kLevelsLine) {
      for (Index c = begin / size; c < std::min(end / size, count); ++c) {
        if ((pattern_.causal && c % 2 == 1) || !any(b, c * size, (c + 1) * size)) continue;
        const Index sibling = (c ^ 1) * size - begin;
        line.entries.push_back({1, rows + c, sibling, sibling + size, false});
      }
    } else {
      const Index own = begin / size, c = own ^ 1;
      if (c < count && (!pattern_.causal || c < own) && any(b, c * size, (c + 1) * size))
        line.entries.push_back({1, rows + c, 0, kLevelsLine, false});
    }
    rows += count;
  }
}

// Summaries of the grid: of columns, along the row; of rows, along the column.
void Sight::see_grid(Index b, int stage, Index g, Line& line) const {
  const Steps along = steps(stage);
  const Index columns = pattern_.size, sample = masked_ ? b * cells_ : 0;
  const bool horizontal = pattern_.kind != BlockKind::vertical, vertical = pattern_.kind != BlockKind::horizontal;
  int table = 1;
  if (stage == 0 && vertical) {
    const auto alive = [&](const std::vector<std::uint8_t>& part) {
      return [&part, sample](Index i) { return part[static_cast<std::size_t>(sample + i)] != 0; };
    };
    see_line(along, g, table++, Relation::others, alive(above_), line);
    if (!pattern_.causal) see_line(along, g, table, Relation::others, alive(below_), line);
  }
  if (stage == 1 && horizontal) {
    if (vertical) table += pattern_.causal ? 1 : 2;
    const Relation rows = pattern_.causal ? Relation::before : Relation::others;
    see_line(
        along, g, table, rows, [&](Index i) { return any(b, i - i % columns, i); }, line);
    see_line(
        along, g, table + 1, rows, [&](Index i) { return any(b, i + 1, i - i % columns + columns); }, line);
  }
}

void Sight::see_window(Index b, Index g, Line& line) const {
  const Index begin = g * kWindowLine, end = std::min(begin + kWindowLine, n_), reach = pattern_.size;
  for (Index j = std::max<Index>(0, begin - reach); j < (pattern_.causal ? end : std::min(end + reach, n_)); ++j) {
    if (!real(b, j)) continue;
    const Index low = pattern_.causal ? j : j - reach;
    line.entries.push_back({0, j, low - begin, j + reach + 1 - begin, false});
  }
}

}  // namespace subquad::kernels
