#include "subquad/kernels/matmul/cpu.h"

#include <algorithm>
#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/blas/blas.h"
#include "subquad/kernels/matmul/batched.h"
#include "subquad/kernels/matmul/tiled.h"

namespace subquad::kernels::cpu {

namespace {

// [0, extent) in `count` pieces of `length`; the last may be shorter.
struct Pieces {
  Index count;
  Index length;

  Index begin(Index piece) const { return piece * length; }
  Index size(Index piece, Index extent) const { return std::min(length, extent - piece * length); }
};

// One piece below `shortest`, else an even number, so that two threads get the same share: two, and more when each
// would be `target` long at least.
Pieces cut(Index extent, Index shortest, Index target, Index most = std::numeric_limits<Index>::max()) {
  constexpr Index kTile = 16;  // pieces start where the register tiles of the BLAS do
  if (extent < shortest) return {1, std::max<Index>(extent, 1)};
  const Index wanted = std::min(2 * std::max<Index>(extent / (2 * target), 1), most);
  const Index length = ((extent + wanted - 1) / wanted + kTile - 1) / kTile * kTile;
  return {(extent + length - 1) / length, length};
}

// Which part of which matrix of the batch: rows, columns and depth from `i`, `j` and `p` on.
struct Piece {
  Index item;
  Index i, height;
  Index j, width;
  Index p, length;
  Index depth_index;
};

// How a batch of products is cut, by shape alone. Each piece packs its operands anew, which costs at 512^3 on one
// thread 1.5 % with 256 rows in a piece and 5 % with 128. Depth is cut only where the output alone would not feed the
// threads and is small enough to be held once per piece of depth.
class Plan {
 public:
  Plan(Index batch, Index m, Index n, Index k) : batch_(batch), m_(m), n_(n), k_(k) {
    constexpr Index kLargestSum = 1 << 16;
    rows_ = cut(m, 192, is_large_product(n, k) ? 768 : 384);
    columns_ = rows_.count > 1 ? cut(n, 4096, 2048) : cut(n, 384, 384);
    const Index pieces = rows_.count * columns_.count;
    depth_ = batch == 1 && m * n <= kLargestSum && pieces <= 8 ? cut(k, 2048, 1024, 16 / pieces) : Pieces{1, k};
  }

  Index depth() const { return depth_.count; }
  Index count() const { return batch_ * rows_.count * columns_.count * depth_.count; }
  Index flops() const { return 2 * rows_.length * columns_.length * depth_.length; }  // of one piece

  Piece operator[](Index piece) const {
    const Index d = piece % depth_.count;
    piece /= depth_.count;
    const Index c = piece % columns_.count;
    piece /= columns_.count;
    const Index r = piece % rows_.count;
    return {.item = piece / rows_.count,
            .i = rows_.begin(r),
            .height = rows_.size(r, m_),
            .j = columns_.begin(c),
            .width = columns_.size(c, n_),
            .p = depth_.begin(d),
            .length = depth_.size(d, k_),
            .depth_index = d};
  }

 private:
  Index batch_, m_, n_, k_;
  Pieces rows_{}, columns_{}, depth_{};
};

// What a piece of the product is added to: `bias` in every row when there is one, else beta * out.
template <class T>
struct Start {
  const T* bias;
  T beta;

  // Leaves it in out [height, width], whose first column is the product's column j; the answer is gemm's beta.
  T prepare(Index height, Index width, Index j, Matrix<T> out) const {
    if (bias == nullptr) return beta;
    for (Index i = 0; i < height; ++i) std::copy_n(bias + j, width, out.at(i, 0));
    return 1;
  }
};

// to [height, width] = alpha left right + start, by our product or by a BLAS.
template <class T>
void multiply(bool tiled, const Piece& piece, T alpha, Matrix<const T> left, Matrix<const T> right, Start<T> start,
              Matrix<T> to) {
  if (tiled) {
    const T* bias = start.bias == nullptr ? nullptr : start.bias + piece.j;
    return tiled_product(piece.height, piece.width, piece.length, alpha, left, right, bias, start.beta, to);
  }
  const T beta = start.prepare(piece.height, piece.width, piece.j, to);
  gemm(piece.height, piece.width, piece.length, alpha, left, right, beta, to);
}

// out [m, n] = start + the sum of `depth` matrices [m, n], one after the other in `parts`; of none when K is 0.
template <class T>
void add_parts(const T* parts, Index depth, Index m, Index n, Start<T> start, Matrix<T> out) {
  parallel_for(m, n * (depth + 1), [&](Index i) {
    T* row = out.at(i, 0);
    const T beta = start.prepare(1, n, 0, out.from(i, 0));
    for (Index j = 0; j < n; ++j) row[j] = beta == 0 ? 0 : beta * row[j];
    for (Index p = 0; p < depth; ++p) {
      const T* part = parts + (p * m + i) * n;
      for (Index j = 0; j < n; ++j) row[j] += part[j];
    }
  });
}

template <class T>
void run(const Tensor& a, const Tensor& b, const Tensor& bias, T alpha, T beta, Tensor& out) {
  const Shape batch = batch_shape(out);
  const Index m = out.dim(-2), n = out.dim(-1), k = a.dim(-1);
  if (out.size() == 0) return;

  const auto lefts = batched<const T>(a, batch), rights = batched<const T>(b, batch);
  const auto outs = batched<T>(out, batch);
  const Start<T> start{bias.defined() ? bias.data<T>() : nullptr, beta};
  if (k == 0) {
    for (Index item = 0; item < batch.size(); ++item) add_parts<T>(nullptr, 0, m, n, start, outs[item]);
    return;
  }

  const Plan plan(batch.size(), m, n, k);
  Tensor parts;  // [depth, m, n]
  if (plan.depth() > 1) parts = empty({plan.depth(), m, n}, out.dtype(), out.device());
  const bool tiled = tiled_product_wins(m, n, k, rights.matrix.transposed);
  constexpr Index kFlopsPerOperation = 32;  // of a product against the scalar operations that parallel_for counts
  parallel_for(plan.count(), plan.flops() / kFlopsPerOperation, [&](Index index) {
    const Piece piece = plan[index];
    const auto left = lefts[piece.item].from(piece.i, piece.p), right = rights[piece.item].from(piece.p, piece.j);
    const Matrix<T> whole =
        parts.defined() ? Matrix<T>{parts.data<T>() + piece.depth_index * m * n, n} : outs[piece.item];
    const Start<T> from = parts.defined() ? Start<T>{nullptr, 0} : start;
    multiply(tiled, piece, alpha, left, right, from, whole.from(piece.i, piece.j));
  });
  if (parts.defined()) add_parts<T>(parts.data<T>(), plan.depth(), m, n, start, outs[0]);
}

}  // namespace

void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, double alpha, double beta, Tensor& out) {
  const Tensor left = is_readable(a) ? a : a.contiguous();
  const Tensor right = is_readable(b) ? b : b.contiguous();
  visit_float("matmul", out.dtype(),
              [&]<class T>(Type<T>) { run<T>(left, right, bias, static_cast<T>(alpha), static_cast<T>(beta), out); });
}

}  // namespace subquad::kernels::cpu
