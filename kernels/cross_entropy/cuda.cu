#include "subquad/kernels/cross_entropy/cuda.h"

#include "subquad/core/cuda/complain.cuh"
#include "subquad/kernels/softmax/exponentials.cuh"

namespace subquad::kernels::cuda {

namespace {

// A warp or a block per sample (kernels/warp/row.cuh), neighbouring lanes on neighbouring packs of its logits, which
// are read once and stay in registers (BlockRow: come again from cache). `dlogits` may be null.
template <class T, class Row>
__global__ void cross_entropy_rows(const T* logits, const std::int64_t* labels, T* losses, T* dlogits, Index batch,
                                   Index classes, Report* report) {
  SharedMemory shared;
  const Row row(classes, shared);
  const Index sample = row.index(), start = sample * classes;
  if (sample >= batch) return;
  const Index label = labels[sample];
  const bool legal = label >= 0 && label < classes;
  if (!legal && row.is_first_thread()) complain(report, Complaint::cross_entropy_label, sample, label, classes);

  const auto in = row.keep(logits + start);
  const T shift = row_shift<T>(row, in);
  const T sum = sum_of_exponentials<T>(row, in, shift);
  const bool possible = sum != 0;  // false when every logit is -inf; true for a NaN
  if (row.is_first_thread()) {
    const T loss =
        possible && legal ? std::log(sum) - (logits[start + label] - shift) : std::numeric_limits<T>::infinity();
    losses[sample] = legal ? loss : std::numeric_limits<T>::quiet_NaN();  // no step is made of it (adamw.h)
  }
  if (dlogits == nullptr) return;
  const T factor = possible && legal ? 1 / sum : T(0);
  row.write(dlogits + start, [&](auto at) {
    auto out = map([&](T logit) { return factor == 0 ? T(0) : std::exp(logit - shift) * factor; }, in[at]);
    for (int i = 0; i < Row::kPack; ++i)
      if (factor != 0 && at.column + i == label) out.at[i] -= 1;
    return out;
  });
}

// A warp or a block per row, neighbouring lanes on neighbouring packs.
template <class T, class Row>
__global__ void scale_rows(const T* factors, const T* in, T* out, Index rows, Index width) {
  SharedMemory shared;
  const Row row(width, shared);
  if (row.index() >= rows) return;
  const Index start = row.index() * width;
  const T factor = factors[row.index()];
  row.write(out + start, [&](auto at) {
    return map([&](T v) { return factor * v; }, load_pack<Row::kPack>(in + start + at.column));
  });
}

}  // namespace

void cross_entropy(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  const Index batch = logits.dim(0), classes = logits.dim(1);
  if (batch == 0) return;
  visit_float("cross_entropy", logits.dtype(), [&]<class T>(Type<T>) {
    with_row<T>(classes, rows_can_pack<T>(classes, logits, dlogits), [&]<class Row>(Type<Row>) {
      launch(cross_entropy_rows<T, Row>, dim3(blocks_for("cross_entropy", batch, Row::kRows)), dim3(Row::kThreads),
             Row::kSharedBytes, current_stream(), logits.data<T>(), labels.data<std::int64_t>(), losses.data<T>(),
             dlogits.defined() ? dlogits.data<T>() : nullptr, batch, classes, report());
    });
  });
}

void cross_entropy_grad(const Tensor& dlosses, const Tensor& dlogits, Tensor& dx) {
  const Index batch = dlogits.dim(0), classes = dlogits.dim(1);
  if (dlogits.size() == 0) return;
  visit_float("cross_entropy_grad", dlogits.dtype(), [&]<class T>(Type<T>) {
    with_row<T>(classes, rows_can_pack<T>(classes, dlogits, dx), [&]<class Row>(Type<Row>) {
      launch(scale_rows<T, Row>, dim3(blocks_for("cross_entropy_grad", batch, Row::kRows)), dim3(Row::kThreads),
             Row::kSharedBytes, current_stream(), dlosses.data<T>(), dlogits.data<T>(), dx.data<T>(), batch, classes);
    });
  });
}

}  // namespace subquad::kernels::cuda
