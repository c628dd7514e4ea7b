// What the queries of block_attention see. Every pattern comes down to lines: queries that see the same entries but for
// a few, which are hidden from some of them. A pattern has one stage or two (rows, then columns), each a set of lines
// that share out all positions; the softmax of a query runs on from one stage to the next.
#pragma once

#include <cstdint>
#include <vector>

#include "subquad/kernels/block_attention/block_attention.h"

namespace subquad::kernels {

// A key and value that a line sees. Its queries bear numbers; number u sees the entry if (low <= u < high) != inverted.
struct Entry {
  int table = 0;  // 0: the tokens; 1, 2, ...: summaries
  Index row = 0;  // of the table
  Index low = 0, high = 0;
  bool inverted = false;

  bool seen_by_all(Index first, Index last) const {  // of the numbers first ... last
    return inverted ? last < low || high <= first : low <= first && last < high;
  }
  bool seen_by_none(Index first, Index last) const {
    return inverted ? low <= first && last < high : last < low || high <= first;
  }
};

struct Line {
  std::vector<Index> positions;   // of the real queries
  std::vector<Index> numbers;     // of the same, rising
  std::vector<Index> blind;       // positions of the line that are no queries; all of them where there is no entry
  std::vector<Entry> entries;     // of real tokens, and of spans that hold one
  Index to_next = 0;              // positions to the query of the same number on the next line
  bool summaries_follow = false;  // does the next line see other summaries, as far on?

  Index to_next_of(const Entry& entry) const { return entry.table == 0 || summaries_follow ? to_next : 0; }
};

// Neighbouring lines that are columns of a grid, one to a lane: what their cells of one row have in common, and which
// of them are queries and entries. A bit stands for a lane.
struct Columns {
  struct Cells {  // a row of a table that the columns see, as a number: a query sees them as it sees an Entry
    std::uint32_t alive = 0;
    Index low = 0, high = 0;
    bool inverted = false;

    bool seen_by(Index number) const { return (low <= number && number < high) != inverted; }
  };
  struct Table {
    int table = 0;
    std::vector<Cells> rows;
  };
  Index first = 0, lanes = 0, between = 0;  // the first column, how many, and positions from one row to the next
  std::vector<std::uint32_t> queries;       // of each row of the grid
  std::vector<Index> blind;                 // as of a Line
  std::vector<Table> tables;

  Index rows() const { return static_cast<Index>(queries.size()); }
  Index position(Index row) const { return row * between + first; }  // of the first lane
  std::uint32_t all() const { return static_cast<std::uint32_t>((std::uint64_t{1} << lanes) - 1); }
};

// Rows first ... first + count - 1 of a table; of no table where it is -1.
struct RowRange {
  int table = -1;
  Index first = 0, count = 0;

  bool holds(const Entry& entry) const {
    return entry.table == table && entry.row >= first && entry.row < first + count;
  }
};

class Sight {
 public:
  Sight(const BlockPattern& pattern, const Mask& mask, Index batch, Index n);

  int stages() const;
  bool real(Index b, Index i) const { return any(b, i, i + 1); }
  Index lines(int stage) const { return steps(stage).count; }
  Index line_length(int stage) const { return steps(stage).length; }
  bool shares_rows() const;  // do several lines see one row?
  RowRange shared_rows(Index first_line,
                       Index last_line) const;  // that lines from first to before last see, and others
  Index extent(Index b) const;                  // positions up to the last real one
  void find(Index b, int stage, Index number, Line& line) const;  // line number `number` of a stage
  bool in_columns(int stage) const { return stage == 1 || pattern_.kind == BlockKind::column; }  // of a grid
  Columns find_columns(Index b, int stage, Index first, Index lanes) const;  // lines first, first + 1, ... of a stage
  Index samples() const { return masked_ ? static_cast<Index>(counts_.size()) / (n_ + 1) : 1; }  // that may differ

 private:
  struct Steps {  // line g holds the positions g * between + t * step, t < length
    Index between, step, length, count;
  };
  // Which entries of its own line a query sees, by their places on it: those up to its own, before it, ...
  enum class Relation { all, up_to, before, after, others };

  Steps steps(int stage) const;
  bool any(Index b, Index begin, Index end) const;  // is a position in [begin, end), clipped to n, real?

  void see(Index b, int stage, Index number, Line& line) const;
  template <class Alive>
  void see_line(const Steps& steps, Index g, int table, Relation relation, const Alive& alive, Line& line) const;
  void see_segments(Index b, Index own, Line& line) const;
  void see_levels(Index b, Index g, Line& line) const;
  void see_grid(Index b, int stage, Index g, Line& line) const;
  void see_window(Index b, Index g, Line& line) const;

  BlockPattern pattern_;
  Index n_;
  Index cells_;      // of the grid; n where there is none
  bool every_cell_;  // is a query, padded or not
  bool masked_;
  std::vector<Index> counts_;                // [B or 1, N + 1]: real positions before i
  std::vector<std::uint8_t> above_, below_;  // [B or 1, cells]: is there a real position in this part of i's column?
};

}  // namespace subquad::kernels
