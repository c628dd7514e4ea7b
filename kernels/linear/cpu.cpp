#include "subquad/kernels/linear/cpu.h"

#include <algorithm>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

namespace {

constexpr Index kRowsPerChunk = 256;

template <class T>
void column_sums(View<const T, 2> dout, Index chunks, T* parts, T* out) {
  const Index rows = dout.dim(0), columns = dout.dim(1);
  parallel_for(chunks, kRowsPerChunk * columns / 4, [&](Index chunk) {
    T* sums = parts + chunk * columns;
    std::fill_n(sums, columns, T{0});
    const Index end = std::min(rows, (chunk + 1) * kRowsPerChunk);
    for (Index i = chunk * kRowsPerChunk; i < end; ++i) {
      const T* row = &dout(i, 0);
      for (Index j = 0; j < columns; ++j) sums[j] += row[j];
    }
  });
  for (Index j = 0; j < columns; ++j) {
    double sum = 0;
    for (Index chunk = 0; chunk < chunks; ++chunk) sum += static_cast<double>(parts[chunk * columns + j]);
    out[j] = static_cast<T>(sum);
  }
}

}  // namespace

void linear_grad_bias(const Tensor& dout, Tensor& dbias) {
  if (dbias.size() == 0) return;
  const Tensor rows = dout.strides()[1] == 1 ? dout : dout.contiguous();
  const Index chunks = (rows.dim(0) + kRowsPerChunk - 1) / kRowsPerChunk;
  Tensor parts = empty({chunks, rows.dim(1)}, dout.dtype(), dout.device());
  visit_float("linear_grad_bias", dout.dtype(), [&]<class T>(Type<T>) {
    column_sums<T>(rows.view<const T, 2>(), chunks, parts.data<T>(), dbias.data<T>());
  });
}

}  // namespace subquad::kernels::cpu
