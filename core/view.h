// What a kernel sees of a tensor: pointer, extents and strides (in elements). Trivially copyable, good on both devices:
// what is constexpr here may be called in CUDA kernels (nvcc's --expt-relaxed-constexpr).
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
  constexpr T& operator()(I... index) const {
    static_assert(sizeof...(I) == Rank, "one index per dimension");
    Index offset = 0;
    int d = 0;
    ((offset += static_cast<Index>(index) * stride_[d++]), ...);
    return data_[offset];
  }

  constexpr T* data() const { return data_; }
  constexpr Index dim(int d) const { return extent_[d]; }
  constexpr Index stride(int d) const { return stride_[d]; }

 private:
  T* data_;
  Index extent_[Rank > 0 ? Rank : 1] = {};
  Index stride_[Rank > 0 ? Rank : 1] = {};
};

}  // namespace subquad
