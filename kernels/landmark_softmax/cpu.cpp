#include "subquad/kernels/landmark_softmax/cpu.h"

#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/softmax/cpu.h"

namespace subquad::kernels::cpu {
namespace {

// f(first element, row of its matrix, is it left out, which columns count or null) for every row.
template <class F>
void for_rows(const Tensor& x, const Tensor& counts, const Tensor& none, const F& f) {
  const Index size = x.dim(2), rows = x.dim(0) * x.dim(1) * size;
  parallel_for(rows, 4 * size, [&](Index row) {
    const Index b = row / size / x.dim(1), i = row % size;
    const bool left_out = none.defined() && none.data<bool>()[b];
    const bool* columns = counts.defined() ? counts.data<bool>() + b * size : nullptr;
    f(row * size, i, left_out || (columns != nullptr && !columns[i]), columns);
  });
}

}  // namespace

// The rows of softmax, from logits that say what is left out.
void landmark_softmax(const Tensor& x, const Tensor& counts, const Tensor& none, const LandmarkSoftmaxOptions& options,
                      Tensor& y) {
  visit_float("landmark_softmax", x.dtype(), [&]<class T>(Type<T>) {
    constexpr T kNever = -std::numeric_limits<T>::infinity();
    Tensor logits = empty_like(x);
    const T* from = x.data<T>();
    T* to = logits.data<T>();
    const T scale = static_cast<T>(options.scale);
    for_rows(x, counts, none, [&](Index first, Index i, bool left_out, const bool* columns) {
      for (Index j = 0; j < x.dim(2); ++j) {
        const bool counted = columns == nullptr || columns[j];
        if (left_out)
          to[first + j] = options.left_out == LeftOutRows::uniform || i == j ? T(0) : kNever;
        else
          to[first + j] = counted ? scale * from[first + j] : kNever;
      }
    });
    softmax(logits, y);
  });
}

void landmark_softmax_grad(const Tensor& dout, const Tensor& y, const Tensor& counts, const Tensor& none,
                           const LandmarkSoftmaxOptions& options, Tensor& dx) {
  softmax_grad(dout, y, dx);
  visit_float("landmark_softmax_grad", y.dtype(), [&]<class T>(Type<T>) {
    T* to = dx.data<T>();
    const T scale = static_cast<T>(options.scale);
    for_rows(y, counts, none, [&](Index first, Index, bool left_out, const bool* columns) {
      for (Index j = 0; j < y.dim(2); ++j)
        to[first + j] = left_out || (columns != nullptr && !columns[j]) ? T(0) : scale * to[first + j];
    });
  });
}

}  // namespace subquad::kernels::cpu
