#include <type_traits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/copy/cpu.h"

namespace subquad::kernels::cpu {
namespace {

// Gathering moves elements only along `dim`: each line of the index along it picks from one line of x. A line is known
// by where it starts; both starts and both strides are in elements.
class Lines {
 public:
  Lines(const Shape& x, const Shape& index, int dim)
      : lines_(index), x_strides_(row_major_strides(x)), index_strides_(row_major_strides(index)), dim_(dim) {
    lines_[dim] = 1;
  }
  Index count() const { return lines_.size(); }
  Index x_step() const { return x_strides_[dim_]; }
  Index index_step() const { return index_strides_[dim_]; }

  struct Starts {
    Index in_x = 0;
    Index in_index = 0;
  };
  Starts starts(Index line) const {
    Starts out;
    for (int d = lines_.rank() - 1; d >= 0; --d) {
      const Index i = line % lines_[d];
      line /= lines_[d];
      out.in_x += i * x_strides_[d];
      out.in_index += i * index_strides_[d];
    }
    return out;
  }

 private:
  Shape lines_, x_strides_, index_strides_;
  int dim_;
};

}  // namespace

void gather(const Tensor& x, int dim, const Tensor& index, Tensor& out) {
  const Lines lines(x.shape(), index.shape(), dim);
  const Index length = index.dim(dim);
  const Index* pick = index.data<Index>();
  visit_any(x.dtype(), [&]<class T>(Type<T>) {
    const T* source = x.data<T>();
    T* target = out.data<T>();
    parallel_for(lines.count(), length, [&](Index line) {
      const Lines::Starts at = lines.starts(line);
      for (Index j = 0; j < length; ++j) {
        const Index place = at.in_index + j * lines.index_step();
        target[place] = source[at.in_x + pick[place] * lines.x_step()];
      }
    });
  });
}

void gather_grad(const Tensor& dout, int dim, const Tensor& index, Tensor& dx) {
  fill(dx, 0);
  const Lines lines(dx.shape(), index.shape(), dim);
  const Index length = index.dim(dim);
  const Index* pick = index.data<Index>();
  visit_float("gather_grad", dx.dtype(), [&]<class T>(Type<T>) {
    const T* source = dout.data<T>();
    T* target = dx.data<T>();
    parallel_for(lines.count(), length, [&](Index line) {  // a line of dx has one writer
      const Lines::Starts at = lines.starts(line);
      for (Index j = 0; j < length; ++j) {
        const Index place = at.in_index + j * lines.index_step();
        target[at.in_x + pick[place] * lines.x_step()] += source[place];
      }
    });
  });
}

}  // namespace subquad::kernels::cpu
