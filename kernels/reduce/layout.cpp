#include "subquad/kernels/reduce/layout.h"

#include "subquad/core/as_shape.h"

namespace subquad::kernels {

ReduceLayout::ReduceLayout(const char* op, const Shape& shape, const std::vector<int>& axes)
    : shape_(shape), is_reduced_(static_cast<std::size_t>(shape.rank()), axes.empty()) {
  for (const int axis : axes) {
    const int d = axis < 0 ? axis + shape.rank() : axis;
    if (d < 0 || d >= shape.rank()) throw ShapeError(cat(op, ": axis ", axis, " is out of range for shape ", shape));
    if (is_reduced_[static_cast<std::size_t>(d)])
      throw ShapeError(cat(op, ": axis ", axis, " is given twice for shape ", shape));
    is_reduced_[static_cast<std::size_t>(d)] = true;
  }
  // Kept axes before the first reduced one stay outside. Those between reduced ones are moved outside, too, so that
  // the reduced ones are neighbours; a copy then gathers them.
  const auto reduced = [&](int d) { return static_cast<bool>(is_reduced_[static_cast<std::size_t>(d)]); };
  int last_reduced = -1;
  for (int d = 0; d < shape.rank(); ++d)
    if (reduced(d)) last_reduced = d;
  std::vector<int> middle, inner;
  for (int d = 0; d < shape.rank(); ++d) {
    if (reduced(d)) {
      middle.push_back(d);
      count_ *= shape[d];
    } else if (d < last_reduced) {
      order_.push_back(d);
      outer_ *= shape[d];
    } else {
      inner.push_back(d);
      inner_ *= shape[d];
    }
  }
  order_.insert(order_.end(), middle.begin(), middle.end());
  order_.insert(order_.end(), inner.begin(), inner.end());
}

Shape ReduceLayout::result(bool keepdim) const {
  Shape out;
  for (int d = 0; d < shape_.rank(); ++d) {
    const bool reduced = is_reduced_[static_cast<std::size_t>(d)];
    if (!reduced) out.push_back(shape_[d]);
    if (reduced && keepdim) out.push_back(1);
  }
  return out;
}

Tensor ReduceLayout::to_form(const Tensor& x) const {
  return x.permute(order_).contiguous().reshape(form());
}

Tensor ReduceLayout::to_rows(const Tensor& x) const {
  const Tensor form = as_shape(x.permute(order_), this->form());
  const int run = inner_ == 1 ? 1 : 2;
  return form.strides()[run] == 1 || form.dim(run) == 1 ? form : form.contiguous();
}

Tensor ReduceLayout::from_form(const Tensor& x) const {
  Shape sorted;
  std::vector<int> back(order_.size());
  for (std::size_t d = 0; d < order_.size(); ++d) {
    sorted.push_back(shape_[order_[d]]);
    back[static_cast<std::size_t>(order_[d])] = static_cast<int>(d);
  }
  return x.reshape(sorted).permute(back);
}

}  // namespace subquad::kernels
