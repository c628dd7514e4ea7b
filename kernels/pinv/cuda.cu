#include "subquad/kernels/pinv/cuda.h"

#include <utility>

#include "subquad/core/precision.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/pinv/cuda_blocks.cuh"
#include "subquad/kernels/pinv/cuda_start.cuh"

// Small float32 matrices go the way of cuda_blocks.cu. Others are multiplied by cuBLAS, all matrices of a batch in one
// call: "a I - X Y" is a product added to a multiple of the identity.
namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A block per matrix.
template <class T>
__global__ void pinv_tops(const T* a, Index size, Top<T>* columns, Top<T>* rows) {
  SharedMemory shared;
  Top<T>* const scratch = shared.take<Top<T>>(kWarp);
  const T* const matrix = a + Index{blockIdx.x} * size * size;
  const Top<T> column = top_column(matrix, size, scratch);
  if (threadIdx.x == 0) columns[blockIdx.x] = column;
  if (rows == nullptr) return;
  const Top<T> row = top_row(matrix, size, scratch);
  if (threadIdx.x == 0) rows[blockIdx.x] = row;
}

// One block: the gradients of all matrices' c are added in a fixed order and go to the lines that made it.
template <class T>
__global__ void pinv_coefficient_grad_once(const T* dc, const T* a, Index size, PinvNorms<T> norms, T* da) {
  SharedMemory shared;
  Top<T>* const scratch = shared.take<Top<T>>(kWarp);
  T* const sums = shared.take<T>(kWarp);
  T sum = 0;
  for (Index i = threadIdx.x; i < norms.count; i += kThreads) sum += dc[i];
  sum = block_sum(sum, sums);
  const Top<T> column = top_of(norms.columns, norms.count, scratch);
  const T c = norms.coefficient(a, size, scratch), amount = -c * c * sum;
  const Index area = size * size, column_line = norms.columns[column.at].at;
  if (norms.rows == nullptr) return add_to_line(column.at * area + column_line, size, size, amount, a, da);
  const Top<T> row = top_of(norms.rows, norms.count, scratch);
  add_to_line(column.at * area + column_line, size, size, amount * row.value, a, da);
  __syncthreads();  // the lines may cross
  add_to_line(row.at * area + norms.rows[row.at].at * size, Index{1}, size, amount * column.value, a, da);
}

// What c needs of all matrices, in memory that lives as long as this does.
template <class T>
class AllTops {
 public:
  AllTops(const char* op, const Tensor& a, PinvStart start) : count_(a.size() / (a.dim(-1) * a.dim(-1))) {
    if (start == PinvStart::exact) return;
    const Index bytes = count_ * static_cast<Index>(sizeof(Top<T>)), kinds = start == PinvStart::product ? 2 : 1;
    memory_ = empty({kinds, bytes / static_cast<Index>(sizeof(Index))}, kInt64, a.device());
    columns_ = reinterpret_cast<Top<T>*>(memory_.data<Index>());
    rows_ = kinds == 2 ? columns_ + count_ : nullptr;
    launch(pinv_tops<T>, dim3(blocks_for(op, count_, 1)), dim3(kThreads), shared_size<Top<T>>(kWarp), current_stream(),
           a.data<T>(), a.dim(-1), columns_, rows_);
  }

  PinvNorms<T> norms() const { return {columns_, rows_, count_}; }

  // The last part of the gradient, where c depends on all matrices.
  void add_gradient(const Tensor& dc, const Tensor& a, Tensor& da) const {
    if (columns_ == nullptr) return;
    launch(pinv_coefficient_grad_once<T>, dim3(1), dim3(kThreads), shared_size<Top<T>>(kWarp) + shared_size<T>(kWarp),
           current_stream(), dc.data<T>(), a.data<T>(), a.dim(-1), norms(), da.data<T>());
  }

 private:
  Index count_;
  Tensor memory_;
  Top<T>*columns_ = nullptr, *rows_ = nullptr;
};

// A block per matrix: z = c a^T.
template <class T>
__global__ void pinv_starts(const T* a, Index size, PinvNorms<T> norms, T* z) {
  SharedMemory shared;
  Top<T>* const scratch = shared.take<Top<T>>(kWarp);
  const Index first = Index{blockIdx.x} * size * size;
  const T c = norms.coefficient(a + first, size, scratch);
  for (Index x = threadIdx.x; x < size * size; x += kThreads) z[first + x] = c * a[first + x % size * size + x / size];
}

// A block per matrix: what Z_0 = c A^T adds to da.
template <class T>
__global__ void pinv_starts_grad(const T* dz, const T* a, Index size, PinvNorms<T> norms, bool through_coefficient,
                                 T* da, T* dc) {
  SharedMemory shared;
  Top<T>* const scratch = shared.take<Top<T>>(kWarp);
  T* const sums = shared.take<T>(kWarp);
  const Index first = Index{blockIdx.x} * size * size;
  finish_gradient(dz + first, size, a + first, size, norms, through_coefficient, scratch, sums, da + first,
                  dc == nullptr ? nullptr : dc + blockIdx.x);
}

// A thread per number: out = diagonal I + factor x, of matrices [size, size]; x may be null or out itself.
template <class T>
__global__ void pinv_affine(T diagonal, T factor, const T* x, Index size, Index count, T* out) {
  const Index at = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= count) return;
  const Index row = at / size % size, column = at % size;
  out[at] = (row == column ? diagonal : T(0)) + (x == nullptr ? T(0) : factor * x[at]);
}

template <class T>
void affine(double diagonal, double factor, const Tensor& x, Tensor& out) {
  launch(pinv_affine<T>, dim3(blocks_for("pinv", out.size(), kThreads)), dim3(kThreads), 0, current_stream(),
         static_cast<T>(diagonal), static_cast<T>(factor), x.defined() ? x.data<T>() : nullptr, out.dim(-1), out.size(),
         out.data<T>());
}

Tensor transposed(const Tensor& t) {
  return t.transpose(-2, -1);
}

// X = A Z_t, 15 I - X (7 I - X), 13 I - X (15 I - ...)
template <class T>
struct Factors {
  Tensor x, fifteen, thirteen;

  explicit Factors(const Tensor& like) : x(empty_like(like)), fifteen(empty_like(like)), thirteen(empty_like(like)) {}

  void compute(const Tensor& a, const Tensor& z) {
    matmul_into(a, z, x);
    affine<T>(15, -7, x, fifteen);
    matmul_into(x, x, fifteen, 1, 1);
    affine<T>(13, 0, {}, thirteen);
    matmul_into(x, fifteen, thirteen, -1, 1);
  }
};

template <class T>
void pinv_by_matmul(const Tensor& a, const PinvNorms<T>& norms, int iterations, PinvOutput& result) {
  launch(pinv_starts<T>, dim3(blocks_for("pinv", norms.count, 1)), dim3(kThreads), shared_size<Top<T>>(kWarp),
         current_stream(), a.data<T>(), a.dim(-1), norms, result.steps.data<T>());
  Factors<T> f(a);
  for (int t = 0; t < iterations; ++t) {
    const Tensor z = result.steps.select(0, t);
    Tensor next = t + 1 == iterations ? result.out : result.steps.select(0, t + 1);
    f.compute(a, z);
    matmul_into(z, f.thirteen, next, 0.25);
  }
}

// The lines of cpu.cpp; (7 I - X)^T is multiplied out.
template <class T>
void pinv_grad_by_matmul(const Tensor& dout, const Tensor& a, const Tensor& steps, const PinvNorms<T>& norms,
                         const PinvOptions& options, Tensor& da, Tensor& dc) {
  Factors<T> f(a);
  Tensor h = empty_like(a), xh = empty_like(a), dx = empty_like(a), dz_next = dout, dz = empty_like(a),
         other = empty_like(a);
  for (int t = options.iterations - 1; t >= 0; --t) {
    const Tensor z = steps.select(0, t);
    f.compute(a, z);
    matmul_into(transposed(z), dz_next, h, 0.25);
    matmul_into(transposed(f.x), h, xh);
    affine<T>(0, 7, xh, dx);
    matmul_into(h, transposed(f.fifteen), dx, -1, 1);
    matmul_into(xh, transposed(f.x), dx, -1, 1);
    matmul_into(transposed(f.x), xh, dx, -1, 1);
    matmul_into(dx, transposed(z), da, 1, t + 1 == options.iterations ? 0 : 1);
    matmul_into(dz_next, transposed(f.thirteen), dz, 0.25);
    matmul_into(transposed(a), dx, dz, 1, 1);
    dz_next = dz;
    std::swap(dz, other);
  }
  launch(pinv_starts_grad<T>, dim3(blocks_for("pinv_grad", norms.count, 1)), dim3(kThreads),
         shared_size<Top<T>>(kWarp) + shared_size<T>(kWarp), current_stream(), dz_next.data<T>(), a.data<T>(),
         a.dim(-1), norms, !options.detach_coefficient, da.data<T>(), dc.data<T>());
}

}  // namespace

void pinv(const Tensor& a, const PinvOptions& options, PinvOutput& result) {
  if (a.size() == 0) return;
  const PrecisionGuard full(Precision::fp32);
  visit_float("pinv", a.dtype(), [&]<class T>(Type<T>) {
    const AllTops<T> tops("pinv", a, options.start);
    if constexpr (std::is_same_v<T, float>)
      if (pinv_fits_block(a.dim(-1))) return pinv_in_blocks(a, tops.norms(), options.iterations, result);
    pinv_by_matmul<T>(a, tops.norms(), options.iterations, result);
  });
}

void pinv_grad(const Tensor& dout, const Tensor& a, const Tensor& steps, const PinvOptions& options, Tensor& da) {
  if (a.size() == 0) return;
  const PrecisionGuard full(Precision::fp32);
  visit_float("pinv_grad", a.dtype(), [&]<class T>(Type<T>) {
    const AllTops<T> tops("pinv_grad", a, options.start);
    Tensor dc = empty({tops.norms().count}, a.dtype(), a.device());
    bool done = false;
    if constexpr (std::is_same_v<T, float>)
      if (pinv_grad_fits_block(a.dim(-1))) {
        pinv_grad_in_blocks(dout, a, steps, tops.norms(), options, da, dc);
        done = true;
      }
    if (!done) pinv_grad_by_matmul<T>(dout, a, steps, tops.norms(), options, da, dc);
    if (!options.detach_coefficient) tops.add_gradient(dc, a, da);
  });
}

}  // namespace subquad::kernels::cuda
