// Columns of a grid abreast: what the forward and backward of such a stage share. Include inside the per-target part of
// a kernel. Lanes are neighbouring columns, so each lane has queries, keys and values of its own, and everything that
// a line does with rows and a strip is done here with panels [rows][features][lanes], number by number: a product of
// panels is a product of matrices whose elements are vectors. What stands a page apart along a column is read as rows
// of the grid, once per panel, and no lane is idle in short columns.
#if defined(SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_INL_H_
#undef SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_INL_H_
#else
#define SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_INL_H_
#endif

#include "subquad/kernels/block_attention/line-inl.h"
#include "subquad/kernels/simd/lane_transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// A matrix of vectors: element (r, c) is the vector r * row + c * step behind data.
template <class T>
struct Lattice {
  T* data;
  Index row, step;

  T* at(Index r, Index c) const { return data + (r * row + c * step) * kLanes<T>; }
};

// Rows and columns of a product of lattices whose sums stay in registers.
inline constexpr int kLatticeRows = 4, kLatticeColumns = HWY_TARGET == HWY_AVX3 ? 4 : 2;

constexpr Index WholeTiles(Index count) {
  return (count + 3) / 4 * 4;
}

// c(i, j) (+)= sum_k a(i, k) b(k, j), lane by lane, for one tile.
template <bool kAdd, class T>
HWY_INLINE void LatticeTile(Lattice<const T> a, Lattice<const T> b, Index depth, Lattice<T> c) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[kLatticeRows][kLatticeColumns];
#pragma GCC unroll 4
  for (int r = 0; r < kLatticeRows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kLatticeColumns; ++j) sum[r][j] = kAdd ? hn::Load(d, c.at(r, j)) : hn::Zero(d);
  for (Index k = 0; k < depth; ++k) {
    hn::Vec<Vector<T>> right[kLatticeColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kLatticeColumns; ++j) right[j] = hn::Load(d, b.at(k, j));
#pragma GCC unroll 4
    for (int r = 0; r < kLatticeRows; ++r) {
      const auto left = hn::Load(d, a.at(r, k));
#pragma GCC unroll 4
      for (int j = 0; j < kLatticeColumns; ++j) sum[r][j] = hn::MulAdd(left, right[j], sum[r][j]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kLatticeRows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kLatticeColumns; ++j) hn::Store(sum[r][j], d, c.at(r, j));
}

// The same for `rows` and `columns` rounded up to fours. A function of its own: a tile's pointers fill the processor's
// registers, and inside a larger function they would be fetched from the stack again and again.
template <bool kAdd, class T>
HWY_NOINLINE void LatticeProduct(Index rows, Index columns, Index depth, Lattice<const T> a, Lattice<const T> b,
                                 Lattice<T> c) {
  for (Index j = 0; j < WholeTiles(columns); j += kLatticeColumns)
    for (Index r = 0; r < WholeTiles(rows); r += kLatticeRows)
      LatticeTile<kAdd>(Lattice<const T>{a.at(r, 0), a.row, a.step}, Lattice<const T>{b.at(0, j), b.row, b.step}, depth,
                        Lattice<T>{c.at(r, j), c.row, c.step});
}

// Rows of queries, and of keys, that are worked on together: logits and weights stay in L1, and so do the rows of
// queries while keys go by.
inline constexpr Index kQueryRows = 8, kKeyRows = 16;

// Asks for the cells of the grid's row that is `distance` numbers behind this one.
template <class T>
HWY_INLINE void FetchCells(const T* cells, Index step, Index lanes, Index distance, Index width) {
  for (Index lane = 0; lane < lanes; ++lane) FetchAhead(cells + lane * step, distance, width);
}

// One row of the grid in lanes: [width][lanes], zeros where a lane has no cell. The next row is asked for.
template <class Number, class T>
HWY_INLINE void LoadCells(View<Number, 4> x, Index b, Index h, const Columns& columns, Index row, std::uint32_t there,
                          T scale, const T* zeros, T* panel) {
  const Vector<T> d;
  const Index position = columns.position(row);
  FetchCells(&x(b, h, position, 0), x.stride(2), columns.lanes, columns.between * x.stride(2), x.dim(3));
  const T* from[kLanes<T>];
  for (Index lane = 0; lane < kLanes<T>; ++lane)
    from[lane] = (there >> lane & 1) != 0 ? &x(b, h, position + lane, 0) : zeros;
  TurnRowsOver(d, from, x.dim(3), hn::Set(d, scale), panel);
}

// A panel [rows, whole tiles][width, whole tiles][lanes] of what stands in the cells of columns.
template <class T>
class ColumnPanel {
 public:
  ColumnPanel(Index rows, Index width)
      : width_(WholeTiles(width)), row_(width_ * kLanes<T>), memory_(WholeTiles(rows) * row_) {
    const Index written = width == width_ ? rows * row_ : 0;  // by who fills it
    std::fill(memory_.data() + written, memory_.data() + memory_.size(), T(0));
  }
  Index width() const { return width_; }
  T* row(Index r) const { return memory_.data() + r * row_; }
  void zero() { memory_.zero(); }
  Lattice<T> from_row(Index r) const { return {row(r), width_, 1}; }
  Lattice<T> from_feature(Index r) const { return {row(r), 1, width_}; }  // rows r, r + 1, ..., turned over
  Lattice<const T> by_rows(Index r) const { return {row(r), width_, 1}; }
  Lattice<const T> by_features(Index r) const { return {row(r), 1, width_}; }

 private:
  Index width_, row_;
  Buffer<T> memory_;
};

// Keys and values of all that columns see, table by table.
template <class T>
std::vector<ColumnPanel<T>> LoadTables(const std::vector<View<const T, 4>>& tables, Index b, Index h,
                                       const Columns& columns, const T* zeros) {
  std::vector<ColumnPanel<T>> panels;
  for (const Columns::Table& seen : columns.tables) {
    const View<const T, 4>& table = tables[static_cast<std::size_t>(seen.table)];
    panels.emplace_back(columns.rows(), table.dim(3));
    for (Index r = 0; r < columns.rows(); ++r)
      LoadCells(table, b, h, columns, r, seen.rows[static_cast<std::size_t>(r)].alive, T(1), zeros,
                panels.back().row(r));
  }
  return panels;
}

template <class T>
HWY_INLINE hn::Mask<Vector<T>> LanesOf(std::uint32_t bits) {
  std::uint8_t bytes[8] = {};
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(bits >> (8 * i));
  return hn::LoadMaskBits(Vector<T>(), bytes);
}

// Does a query of rows [begin, end) see one of the cells?
HWY_INLINE bool SeenByAny(const Columns::Cells& cells, Index begin, Index end) {
  if (cells.alive == 0) return false;
  for (Index number = begin; number < end; ++number)
    if (cells.seen_by(number)) return true;
  return false;
}

// f(table, first key row, keys) for the blocks of keys that queries of rows [begin, end) see, from the first that one
// of them sees to the last.
template <class F>
HWY_INLINE void ForKeyRows(const Columns& columns, Index begin, Index end, const F& f) {
  for (std::size_t t = 0; t < columns.tables.size(); ++t) {
    const std::vector<Columns::Cells>& rows = columns.tables[t].rows;
    Index first = 0, last = static_cast<Index>(rows.size());
    while (first < last && !SeenByAny(rows[static_cast<std::size_t>(first)], begin, end)) ++first;
    while (first < last && !SeenByAny(rows[static_cast<std::size_t>(last - 1)], begin, end)) --last;
    last = std::min(WholeTiles(last), static_cast<Index>(rows.size()));  // what a tile takes along is hidden, too
    for (first = first / 4 * 4; first < last; first += kKeyRows) f(t, first, std::min(kKeyRows, last - first));
  }
}

// logits [queries][kKeyRows][lanes]: -inf where a query does not see a key, or a lane has none.
template <class T>
HWY_INLINE void HideCells(const Columns& columns, const Columns::Cells* cells, Index begin, Index queries, Index keys,
                          T* logits) {
  const Vector<T> d;
  const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
  for (Index k = 0; k < keys; ++k) {
    const bool whole = cells[k].alive == columns.all();
    const auto alive = LanesOf<T>(cells[k].alive);
    for (Index q = 0; q < queries; ++q) {
      T* to = logits + (q * kKeyRows + k) * kLanes<T>;
      if (!cells[k].seen_by(begin + q))
        hn::Store(nothing, d, to);
      else if (!whole)
        hn::Store(hn::IfThenElse(alive, hn::Load(d, to), nothing), d, to);
    }
  }
}

// Multiplies what queries [queries][kKeyRows][lanes] have for keys by the dropout's factors.
template <class T>
void DropCells(const DirectDropout& dropout, Index b, Index h, const Columns& columns, int table, Index query_row,
               Index queries, Index key_row, Index keys, T* block) {
  if (table != 0) return;
  for (Index q = 0; q < queries; ++q)
    for (Index k = 0; k < keys; ++k)
      for (Index lane = 0; lane < columns.lanes; ++lane) {
        const Entry entry{.table = table, .row = columns.position(key_row + k) + lane};
        block[(q * kKeyRows + k) * kLanes<T> + lane] *=
            static_cast<T>(dropout.factor(b, h, columns.position(query_row + q) + lane, entry));
      }
}

// Are columns of this stage better abreast than one by one? Lanes without a column are idle; and a panel's vector
// serves eight queries where a line's number serves 32: from 128 rows on, panels come from L3 and backward is 5 to 14 %
// slower.
template <class T>
bool GoAbreast(const Sight& sight, int stage) {
  constexpr Index kRows = 64;
  return sight.in_columns(stage) && 2 * sight.lines(stage) >= kLanes<T> && sight.line_length(stage) <= kRows;
}

// f(b, h, columns) for all columns of a stage, as many at a time as there are lanes. What they see is found once for
// all heads, and where there is no mask once for all samples.
template <class T, class F>
void ForColumns(const Sight& sight, int stage, Index batch, Index heads, Index work, const F& f) {
  const Index lines = sight.lines(stage), blocks = (lines + kLanes<T> - 1) / kLanes<T>;
  std::vector<Columns> found(static_cast<std::size_t>(sight.samples() * blocks));
  parallel_for(static_cast<Index>(found.size()), sight.line_length(stage) * kLanes<T> * 16, [&](Index i) {
    const Index first = i % blocks * kLanes<T>;
    found[static_cast<std::size_t>(i)] =
        sight.find_columns(i / blocks, stage, first, std::min(kLanes<T>, lines - first));
  });
  parallel_for(batch * heads * blocks, work, [&](Index task) {
    const Index h = task % heads, block = task / heads % blocks, b = task / heads / blocks;
    f(b, h, found[static_cast<std::size_t>((sight.samples() == 1 ? 0 : b * blocks) + block)]);
  });
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
