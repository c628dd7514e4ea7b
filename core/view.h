// What a kernel sees of a tensor: pointer, extents and strides (in elements). Trivially copyable, good on both devices.
#pragma once

#include "subquad/core/shape.h"

namespace subquad {

template <class T, int Rank>
class View {
 public:
  View(T* data, const Shape& shape, const Shape& strides) : data_(data) {
    for (int d = 0; d < Rank; ++d) {
      extent_[d] = shape[d];
      stride_[d] = strides[d];
    }
  }

  template <class... I>
  T& operator()(I... index) const {
    static_assert(sizeof...(I) == Rank, "one index per dimension");
    Index offset = 0;
    int d = 0;
    ((offset += static_cast<Index>(index) * stride_[d++]), ...);
    return data_[offset];
  }

  T* data() const { return data_; }
  Index dim(int d) const { return extent_[d]; }
  Index stride(int d) const { return stride_[d]; }

 private:
  T* data_;
  Index extent_[Rank > 0 ? Rank : 1] = {};
  Index stride_[Rank > 0 ? Rank : 1] = {};
};

}  // namespace subquad
