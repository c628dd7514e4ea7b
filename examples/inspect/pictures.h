// The matrices of a page. They are kept as they were computed, or made, until the page is written; then sides along the
// input's positions are cut into blocks, the same for all, so large that the file keeps to its size. Where that is more
// than one position, other sides, such as landmarks, are cut, too, if they would have more cells than the positions.
//
// A cell of the page has 16 bits between the least and the largest of its picture: it differs from the number that it
// stands for by no more than 1 / 131070 of that range.
#pragma once

#include <functional>
#include <optional>

#include "subquad/core/tensor.h"
#include "subquad/examples/inspect/parts.h"
#include "subquad/examples/inspect/reduced.h"

namespace subquad::inspect {

// The entries along one side of a picture.
struct Side {
  std::string what = {};  // "query"
  Json names = nullptr;   // null: their numbers; "tokens": those of the input; or a list
  bool cut = false;       // along the input's positions
};

inline const Side kQueries = {"query", "tokens", true};
inline const Side kKeys = {"key", "tokens", true};

struct Picture {
  std::string id;  // the same for the same thing in every head
  std::string title, about;
  std::string scale;   // pictures with the same one share their colours, where the reader wants them to
  Tensor values = {};  // [R, C] float32 on the CPU, any strides
  Side rows, columns;
  // Where there is one, `values` only tell the size, and these are the numbers: made when the page is written, one
  // after the other, and forgotten, so that many large matrices need not be kept. The model must still be there.
  std::function<Tensor()> make = {};
  double least = 0;  // colours go up to at least this magnitude: what is less than rounding shall not look like much
};

// What stands in the place of a matrix that is made later: its size, in a few bytes.
Tensor only_size(Index rows, Index columns);

class Pictures {
 public:
  Index add(Picture picture);  // its number
  // Values of the first minus the second's, computed from these, not from cells.
  Index add_difference(const Picture& frame, Index first, Index second);

  // The least block with which the pictures' records together take at most so many bytes.
  Index block_for(std::size_t bytes) const;
  // One for each picture. With a block of 1 a cell is an entry; else there are two sets of cells, the blocks' means and
  // their entries of largest magnitude.
  Json records(Index block) const;

  std::size_t size() const { return all_.size(); }
  Index longest() const { return longest_; }  // of the sides along positions; 1 where there is none

 private:
  struct Kept {
    Picture picture;
    std::optional<std::pair<std::size_t, std::size_t>> minus;
  };
  Json frame(const Picture& picture, Index block) const;  // its record without cells
  Tensor values(const Kept& kept) const;
  std::size_t bytes(Index block) const;
  Blocks blocks_of(const Picture& picture, Index block) const;  // where positions have blocks of `block`
  Json cells(const Kept& kept, Index block) const;

  std::vector<Kept> all_;
  Index longest_ = 1;
};

}  // namespace subquad::inspect
