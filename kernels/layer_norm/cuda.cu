#include "subquad/kernels/layer_norm/cuda.h"

#include <algorithm>
#include <cmath>

#include "subquad/kernels/warp/row.cuh"

namespace subquad::kernels::cuda {

namespace {

// Enough chunks to fill a large device, and few enough that the partial sums are small beside the rows. A function of
// the shape alone, so that the sums have the same bits on every device.
constexpr Index kMostChunks = 1024;
constexpr Index kFewestRows = 8;  // per chunk: two for each warp of a block

Index rows_per_chunk(Index rows) {
  return std::max(kFewestRows, (rows + kMostChunks - 1) / kMostChunks);
}

// A product that is rounded before it is added to anything, unlike a * b + c where the compiler may choose to fuse.
__device__ float product(float a, float b) {
  return __fmul_rn(a, b);
}
__device__ double product(double a, double b) {
  return __dmul_rn(a, b);
}

// A warp or a block per row (kernels/warp/row.cuh), neighbouring lanes on neighbouring packs. x and residual are read
// once; mean, squares and result are made from registers (BlockRow: from cache). residual and sums are null for a plain
// layer norm.
template <class T, class Row>
__global__ void add_layer_norm_rows(const T* x, const T* residual, const T* gamma, const T* beta, T eps, T* sums,
                                    T* out, T* means, T* rstds, Index rows, Index width) {
  constexpr int kPack = Row::kPack;
  SharedMemory shared;
  const Row row(width, shared);
  if (row.index() >= rows) return;
  const Index start = row.index() * width;
  const auto in = row.make(residual != nullptr ? sums + start : x + start, [&](auto at) {
    auto pack = load_pack<kPack>(x + start + at.column);
    if (residual != nullptr) {
      pack = map([](T a, T b) { return a + b; }, pack, load_pack<kPack>(residual + start + at.column));
      store_pack<kPack>(sums + start + at.column, pack);
    }
    return pack;
  });
  const T count = static_cast<T>(width > 0 ? width : 1);
  const T mean = row.template reduce<Sum>(T(0), [&](auto at) { return in[at]; }) / count;
  const T squares = row.template reduce<Sum>(
      T(0), [&](auto at) { return map([&](T v) { return (v - mean) * (v - mean); }, in[at]); });
  const T rstd = 1 / std::sqrt(squares / count + eps);
  row.write(out + start, [&](auto at) {
    return map([&](T v, T scale, T shift) { return (v - mean) * rstd * scale + shift; }, in[at],
               load_pack<kPack>(gamma + at.column), load_pack<kPack>(beta + at.column));
  });
  if (row.is_first_thread()) {
    means[row.index()] = mean;
    rstds[row.index()] = rstd;
  }
}

// The sums down the columns of a chunk of rows, each column's by the thread that sees it in every row.
template <class T, class Row>
class ColumnSums;

// In registers; the warps of a block are added at the end, in order.
template <class T, int N, int kSlots>
class ColumnSums<T, WarpRow<T, N, kSlots>> {
  using Row = WarpRow<T, N, kSlots>;

 public:
  static std::size_t shared_bytes(Index width) { return shared_size<T>(static_cast<std::size_t>(width)); }

  __device__ ColumnSums(const Row&, T* to, Index width, SharedMemory& shared)
      : to_(to), block_(shared.take<T>(static_cast<int>(width))) {}

  __device__ void add(typename Row::Place at, const Pack<T, N>& terms) {
    packs_[at.slot] = map([](T a, T b) { return a + b; }, packs_[at.slot], terms);
  }

  // All threads of the block call.
  __device__ void finish(const Row& row) {
    for (int warp = 0; warp < Row::kRows; ++warp) {
      if (warp == Row::within_block())
        row.each([&](auto at) {
          if (warp > 0) add(at, load_pack<N>(block_ + at.column));
          store_pack<N>((warp + 1 < Row::kRows ? block_ : to_) + at.column, packs_[at.slot]);
        });
      __syncthreads();
    }
  }

 private:
  T* to_;
  T* block_;
  Pack<T, N> packs_[kSlots] = {};
};

// In memory, where they stay in cache while the chunk lasts.
template <class T, int N>
class ColumnSums<T, BlockRow<T, N>> {
  using Row = BlockRow<T, N>;

 public:
  static std::size_t shared_bytes(Index) { return 0; }

  __device__ ColumnSums(const Row& row, T* to, Index, SharedMemory&) : to_(to) {
    row.write(to_, [](auto) { return Pack<T, N>{}; });
  }

  __device__ void add(typename Row::Place at, const Pack<T, N>& terms) {
    store_pack<N>(to_ + at.column, map([](T a, T b) { return a + b; }, load_pack<N>(to_ + at.column), terms));
  }
  __device__ void finish(const Row&) {}

 private:
  T* to_;
};

// A block per chunk of rows, of which its warps (BlockRow: all of it) take one after the other, neighbouring lanes on
// neighbouring packs. dout and x are read once, gamma comes from cache. `extras` may be null.
template <class T, class Row>
__global__ void layer_norm_grad_rows(const T* ups, const T* xs, const T* gamma, const T* means, const T* rstds,
                                     const T* extras, T* dx, T* partials, Index rows, Index rows_of_chunk,
                                     Index width) {
  constexpr int kPack = Row::kPack;
  SharedMemory shared;
  const Row row(width, shared);
  T* const partial = partials + Index{blockIdx.x} * 2 * width;
  ColumnSums<T, Row> dgamma(row, partial, width, shared), dbeta(row, partial + width, width, shared);
  const Index begin = Index{blockIdx.x} * rows_of_chunk;
  const Index end = begin + rows_of_chunk < rows ? begin + rows_of_chunk : rows;
  const T count = static_cast<T>(width > 0 ? width : 1);
  for (Index r = begin + row.within_block(); r < end; r += Row::kRows) {
    const Index start = r * width;
    const T mean = means[r], rstd = rstds[r];
    const auto normalised = [&](T v) { return product(v - mean, rstd); };
    const auto up = row.keep(ups + start), in = row.keep(xs + start);
    // dxhat is rounded where it is summed and where it is used: a row of width 1 has the gradient 0
    const T sum = row.template reduce<Sum>(T(0), [&](auto at) {
      dgamma.add(at, map([&](T dy, T v) { return product(dy, normalised(v)); }, up[at], in[at]));
      dbeta.add(at, up[at]);
      return map([](T dy, T scale) { return product(dy, scale); }, up[at], load_pack<kPack>(gamma + at.column));
    });
    const T dot = row.template reduce<Sum>(T(0), [&](auto at) {
      return map([&](T dy, T v, T scale) { return product(dy, scale) * normalised(v); }, up[at], in[at],
                 load_pack<kPack>(gamma + at.column));
    });
    const T mean_sum = sum / count, mean_dot = dot / count;
    row.write(dx + start, [&](auto at) {
      auto out =
          map([&](T dy, T v, T scale) { return rstd * (product(dy, scale) - mean_sum - normalised(v) * mean_dot); },
              up[at], in[at], load_pack<kPack>(gamma + at.column));
      if (extras != nullptr)
        out = map([](T a, T b) { return a + b; }, out, load_pack<kPack>(extras + start + at.column));
      return out;
    });
  }
  dgamma.finish(row);
  dbeta.finish(row);
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

void add_layer_norm(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, double eps,
                    AddLayerNorm& result) {
  const Index width = x.dim(-1), rows = result.mean.size();
  if (rows == 0) return;
  visit_float("layer_norm", x.dtype(), [&]<class T>(Type<T>) {
    const bool packs = rows_can_pack<T>(width, x, residual, gamma, beta, result.sum, result.out);
    with_row<T>(width, packs, [&]<class Row>(Type<Row>) {
      launch(add_layer_norm_rows<T, Row>, dim3(blocks_for("layer_norm", rows, Row::kRows)), dim3(Row::kThreads),
             Row::kSharedBytes, current_stream(), x.data<T>(), data_or_null<T>(residual), gamma.data<T>(),
             beta.data<T>(), static_cast<T>(eps), result.sum.defined() ? result.sum.data<T>() : nullptr,
             result.out.data<T>(), result.mean.data<T>(), result.rstd.data<T>(), rows, width);
    });
  });
}

Index layer_norm_chunks(Index rows) {
  const Index each = rows_per_chunk(rows);
  return (rows + each - 1) / each;
}

void layer_norm_grad(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                     const Tensor& dsum, Tensor& dx, Tensor& partial) {
  const Index width = x.dim(-1), rows = mean.size();
  if (x.size() == 0) return;
  visit_float("layer_norm_grad", x.dtype(), [&]<class T>(Type<T>) {
    const bool packs = rows_can_pack<T>(width, dout, x, gamma, dsum, dx, partial);
    with_row<T>(width, packs, [&]<class Row>(Type<Row>) {
      launch(layer_norm_grad_rows<T, Row>, dim3(static_cast<unsigned>(partial.dim(0))), dim3(Row::kThreads),
             Row::kSharedBytes + 2 * ColumnSums<T, Row>::shared_bytes(width), current_stream(), dout.data<T>(),
             x.data<T>(), gamma.data<T>(), mean.data<T>(), rstd.data<T>(), data_or_null<T>(dsum), dx.data<T>(),
             partial.data<T>(), rows, rows_per_chunk(rows), width);
    });
  });
}

}  // namespace subquad::kernels::cuda
