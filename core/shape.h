// Sizes: the 64-bit index type and the shape of a tensor.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <vector>

namespace subquad {

using Index = std::int64_t;

inline constexpr int kMaxRank = 8;

// The extents of a tensor, outermost first; also used for strides (in elements). Rank 0 is a scalar with one element.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Index> extents);
  explicit Shape(const std::vector<Index>& extents);

  int rank() const { return rank_; }
  Index size() const;  // number of elements: the product of the extents
  Index operator[](int dim) const { return extents_[static_cast<std::size_t>(dim)]; }
  Index& operator[](int dim) { return extents_[static_cast<std::size_t>(dim)]; }
  Index back() const { return (*this)[rank_ - 1]; }

  const Index* begin() const { return extents_.data(); }
  const Index* end() const { return extents_.data() + rank_; }

  void push_back(Index extent);
  Shape without(int dim) const;                 // the same with one dimension left out
  Shape with(int dim, Index extent) const;      // the same with one extent replaced
  Shape inserted(int dim, Index extent) const;  // the same with a new dimension before `dim`

  friend bool operator==(const Shape& a, const Shape& b);

 private:
  int rank_ = 0;
  std::array<Index, kMaxRank> extents_ = {};
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);  // [2, 3]

Shape row_major_strides(const Shape& shape);

// The shape that NumPy's broadcasting gives for both; ShapeError naming `op` when they do not fit.
Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);

}  // namespace subquad
