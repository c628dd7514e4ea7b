// Brings a reduction over any axes into the form [A, R, K] -> [A, K].
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

class ReduceLayout {
 public:
  // Axes are checked: in range and not twice, else ShapeError naming `op`.
  ReduceLayout(const char* op, const Shape& shape, const std::vector<int>& axes);

  Index count() const { return count_; }                   // R
  Shape form() const { return {outer_, count_, inner_}; }  // [A, R, K]
  Shape kept() const { return {outer_, inner_}; }          // [A, K]
  Shape result(bool keepdim) const;                        // what the caller gets

  Tensor to_form(const Tensor& x) const;  // contiguous [A, R, K]; a copy unless x lies so already
  // [A, R, K] whose K lie gapless (whose R do, where K is 1); a copy unless x lies so already.
  Tensor to_rows(const Tensor& x) const;
  Tensor from_form(const Tensor& x) const;  // back: a view with the shape that the layout was made for

 private:
  Shape shape_;
  std::vector<bool> is_reduced_;
  std::vector<int> order_;  // the axes, sorted into outer, reduced, inner
  Index outer_ = 1, count_ = 1, inner_ = 1;
};

}  // namespace subquad::kernels
