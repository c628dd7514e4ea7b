#include "subquad/kernels/softmax/cuda.h"

#include "subquad/kernels/softmax/exponentials.cuh"

namespace subquad::kernels::cuda {

namespace {

// All four: a warp or a block per row (kernels/warp/row.cuh), neighbouring lanes on neighbouring packs of it. Inputs
// are read once and stay in registers (BlockRow: come again from cache); exponentials are made twice rather than
// stored.

template <class T, class Row>
__global__ void softmax_rows(const T* x, T* y, Index rows, Index width) {
  SharedMemory shared;
  const Row row(width, shared);
  if (row.index() >= rows) return;
  const Index start = row.index() * width;
  const auto in = row.keep(x + start);
  const T shift = row_shift<T>(row, in);
  const T sum = sum_of_exponentials<T>(row, in, shift);
  const T factor = sum == 0 ? T(0) : 1 / sum;
  row.write(y + start, [&](auto at) { return map([&](T v) { return std::exp(v - shift) * factor; }, in[at]); });
}

template <class T, class Row>
__global__ void softmax_grad_rows(const T* dout, const T* y, T* dx, Index rows, Index width) {
  SharedMemory shared;
  const Row row(width, shared);
  if (row.index() >= rows) return;
  const Index start = row.index() * width;
  const auto up = row.keep(dout + start), p = row.keep(y + start);
  const T dot =
      row.template reduce<Sum>(T(0), [&](auto at) { return map([](T a, T b) { return a * b; }, up[at], p[at]); });
  row.write(dx + start, [&](auto at) { return map([&](T a, T b) { return b * (a - dot); }, up[at], p[at]); });
}

template <class T, class Row>
__global__ void log_softmax_rows(const T* x, T* y, Index rows, Index width) {
  SharedMemory shared;
  const Row row(width, shared);
  if (row.index() >= rows) return;
  const Index start = row.index() * width;
  const auto in = row.keep(x + start);
  const T shift = row_shift<T>(row, in);
  const T sum = sum_of_exponentials<T>(row, in, shift);
  const T log_sum = sum == 0 ? T(0) : std::log(sum);
  row.write(y + start, [&](auto at) { return map([&](T v) { return v - shift - log_sum; }, in[at]); });
}

template <class T, class Row>
__global__ void log_softmax_grad_rows(const T* dout, const T* y, T* dx, Index rows, Index width) {
  SharedMemory shared;
  const Row row(width, shared);
  if (row.index() >= rows) return;
  const Index start = row.index() * width;
  const auto up = row.keep(dout + start), log_p = row.keep(y + start);
  const T total = row.template reduce<Sum>(T(0), [&](auto at) { return up[at]; });
  const bool impossible = row_maximum<T>(row, log_p) == -std::numeric_limits<T>::infinity();
  row.write(dx + start, [&](auto at) {
    return map([&](T a, T b) { return impossible ? T(0) : a - std::exp(b) * total; }, up[at], log_p[at]);
  });
}

// Calls start(Type<T>, Type<Row>, rows, width) for the rows of tensors like y, none of which is empty.
template <class F>
void with_rows_of(const char* op, const Tensor& in, const Tensor& y, const Tensor& out, const F& start) {
  if (y.size() == 0) return;
  const Index width = y.dim(-1);
  visit_float(op, y.dtype(), [&]<class T>(Type<T> element) {
    with_row<T>(width, rows_can_pack<T>(width, in, y, out),
                [&](auto row) { start(element, row, y.size() / width, width); });
  });
}

}  // namespace

void softmax(const Tensor& x, Tensor& y) {
  with_rows_of("softmax", x, x, y, [&]<class T, class Row>(Type<T>, Type<Row>, Index rows, Index width) {
    launch(softmax_rows<T, Row>, dim3(blocks_for("softmax", rows, Row::kRows)), dim3(Row::kThreads), Row::kSharedBytes,
           current_stream(), x.data<T>(), y.data<T>(), rows, width);
  });
}

void softmax_grad(const Tensor& dout, const Tensor& y, Tensor& dx) {
  with_rows_of("softmax_grad", dout, y, dx, [&]<class T, class Row>(Type<T>, Type<Row>, Index rows, Index width) {
    launch(softmax_grad_rows<T, Row>, dim3(blocks_for("softmax_grad", rows, Row::kRows)), dim3(Row::kThreads),
           Row::kSharedBytes, current_stream(), dout.data<T>(), y.data<T>(), dx.data<T>(), rows, width);
  });
}

void log_softmax(const Tensor& x, Tensor& y) {
  with_rows_of("log_softmax", x, x, y, [&]<class T, class Row>(Type<T>, Type<Row>, Index rows, Index width) {
    launch(log_softmax_rows<T, Row>, dim3(blocks_for("log_softmax", rows, Row::kRows)), dim3(Row::kThreads),
           Row::kSharedBytes, current_stream(), x.data<T>(), y.data<T>(), rows, width);
  });
}

void log_softmax_grad(const Tensor& dout, const Tensor& y, Tensor& dx) {
  with_rows_of("log_softmax_grad", dout, y, dx, [&]<class T, class Row>(Type<T>, Type<Row>, Index rows, Index width) {
    launch(log_softmax_grad_rows<T, Row>, dim3(blocks_for("log_softmax_grad", rows, Row::kRows)), dim3(Row::kThreads),
           Row::kSharedBytes, current_stream(), dout.data<T>(), y.data<T>(), dx.data<T>(), rows, width);
  });
}

}  // namespace subquad::kernels::cuda
