#include "subquad/core/shape.h"

#include <algorithm>
#include <ostream>

#include "subquad/core/error.h"

namespace subquad {

Shape::Shape(std::initializer_list<Index> extents) {
  for (const Index extent : extents) push_back(extent);
}

Shape::Shape(const std::vector<Index>& extents) {
  for (const Index extent : extents) push_back(extent);
}

Index Shape::size() const {
  Index product = 1;
  for (const Index extent : *this) product *= extent;
  return product;
}

void Shape::push_back(Index extent) {
  if (rank_ == kMaxRank) throw ShapeError(cat("shape: more than ", kMaxRank, " dimensions"));
  extents_[static_cast<std::size_t>(rank_++)] = extent;
}

Shape Shape::without(int dim) const {
  Shape out;
  for (int d = 0; d < rank_; ++d)
    if (d != dim) out.push_back((*this)[d]);
  return out;
}

Shape Shape::with(int dim, Index extent) const {
  Shape out = *this;
  out[dim] = extent;
  return out;
}

Shape Shape::inserted(int dim, Index extent) const {
  Shape out;
  for (int d = 0; d <= rank_; ++d) {
    if (d == dim) out.push_back(extent);
    if (d < rank_) out.push_back((*this)[d]);
  }
  return out;
}

bool operator==(const Shape& a, const Shape& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int d = 0; d < shape.rank(); ++d) out << (d > 0 ? ", " : "") << shape[d];
  return out << ']';
}

Shape row_major_strides(const Shape& shape) {
  Shape strides = shape;
  Index stride = 1;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    strides[d] = stride;
    stride *= shape[d];
  }
  return strides;
}

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int d = 0; d < rank; ++d) {
    const int da = d - (rank - a.rank());
    const int db = d - (rank - b.rank());
    const Index ea = da < 0 ? 1 : a[da];
    const Index eb = db < 0 ? 1 : b[db];
    if (ea != eb && ea != 1 && eb != 1)
      throw ShapeError(
          cat(op, ": shapes ", a, " and ", b, " do not broadcast: dimension ", d - rank, " is ", ea, " and ", eb));
    out.push_back(ea == 1 ? eb : ea);
  }
  return out;
}

}  // namespace subquad
