#include <algorithm>

#include "subquad/core/cuda/complain.cuh"
#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/copy/cuda.h"
#include "subquad/kernels/copy/order.h"
#include "subquad/kernels/copy/units.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// out[a, j, :] = x[a, index[j], :] with rows of `width` units. One thread per unit of out: neighbouring threads read
// and write neighbouring units of a row.
template <class Unit>
__global__ void copy_rows(const Unit* x, const Index* index, Index slabs, Index rows, Index picks, Index width,
                          Complaint complaint, Report* report, Unit* out) {
  const Index i = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= slabs * picks * width) return;
  const Index to = i / width, column = i % width, slab = to / picks, pick = to % picks, row = index[pick];
  const bool valid = row >= 0 && row < rows;
  if (!valid && column == 0) complain(report, complaint, pick, row, rows);
  out[i] = valid ? x[(slab * rows + row) * width + column] : Unit{};
}

// checked[j] = index[j], or `rows` for one that is out of range: those sort to the end, where nobody sums them.
__global__ void check_rows(const Index* index, Index size, Index rows, Complaint complaint, Report* report,
                           Index* checked) {
  const Index i = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= size) return;
  const bool valid = index[i] >= 0 && index[i] < rows;
  if (!valid) complain(report, complaint, i, index[i], rows);
  checked[i] = valid ? index[i] : rows;
}

// first[r] = number of keys below r: one thread per r in [0, R], by bisection.
__global__ void find_rows(const Index* keys, Index size, Index rows, Index* first) {
  const Index row = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (row > rows) return;
  Index low = 0, high = size;
  while (low < high) {
    const Index middle = (low + high) / 2;
    if (keys[middle] < row)
      low = middle + 1;
    else
      high = middle;
  }
  first[row] = low;
}

constexpr Index kPiece = 64;  // sorted places that one thread adds up, one after the other
constexpr int kAhead = 8;     // of which so many are read before the first is added

// Extents of add_rows; the width in packs.
struct Extents {
  Index slabs, picks, rows, width;
  __device__ Index pieces() const { return (picks + kPiece - 1) / kPiece; }
};

template <class T, int W>
__device__ void add(Pack<T, W>& sum, const Pack<T, W>& x) {
  for (int j = 0; j < W; ++j) sum.at[j] += x.at[j];
}

// The sorted places are cut into pieces; one thread per slab, piece and pack of columns, neighbouring threads on
// neighbouring columns. A piece holds runs of equal rows. A run that lies within it is that row's whole sum and goes to
// out [A, R, K]; one that came from the piece before goes to heads [A, pieces, K], one that goes on behind to tails.
template <class T, int W>
__global__ void sum_pieces(const T* x, const Index* keys, const Index* places, Extents n, T* heads, T* tails, T* out) {
  const Index i = Index{blockIdx.x} * kThreads + threadIdx.x, pieces = n.pieces();
  if (i >= n.slabs * pieces * n.width) return;
  const Index column = i % n.width, piece = i / n.width % pieces, slab = i / n.width / pieces;
  const Index begin = piece * kPiece, end = begin + kPiece < n.picks ? begin + kPiece : n.picks;
  bool goes_on = begin > 0 && keys[begin - 1] == keys[begin];
  Pack<T, W> sum = {};
  for (Index first = begin; first < end; first += kAhead) {
    Pack<T, W> ahead[kAhead];
    for (int j = 0; j < kAhead; ++j)
      if (first + j < end) ahead[j] = load_pack<W>(x + ((slab * n.picks + places[first + j]) * n.width + column) * W);
    for (int j = 0; j < kAhead; ++j) {
      const Index place = first + j;
      if (place >= end) break;
      add(sum, ahead[j]);
      const Index row = keys[place];
      const bool ends = place + 1 == n.picks || keys[place + 1] != row;
      if (!ends && place + 1 < end) continue;
      const Index in_pieces = (slab * pieces + piece) * n.width + column;
      if (goes_on)
        store_pack(heads + in_pieces * W, sum);
      else if (!ends)
        store_pack(tails + in_pieces * W, sum);
      else if (row < n.rows)
        store_pack(out + ((slab * n.rows + row) * n.width + column) * W, sum);
      goes_on = false;
      sum = {};
    }
  }
}

constexpr int kSharers = 8;                     // lanes that share the pieces of one row and pack of columns
constexpr int kTargets = kWarp / kSharers;      // of those to a warp, neighbours
constexpr Index kJoined = kThreads / kSharers;  // to a block

// Rows that lie in several pieces get the sum of them, from the tail of the first to the head of the last; rows that
// nobody points at get zeros; the others are done. Eight lanes per row and pack take pieces in turn and combine by
// shuffles; four neighbouring packs to a warp, 64 bytes of each piece's sums.
template <class T, int W>
__global__ void join_pieces(const T* heads, const T* tails, const Index* first, Extents n, T* out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, sharer = lane / kTargets;
  const Index warp = Index{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
  const Index target = warp * kTargets + lane % kTargets;
  const bool inside = target < n.slabs * n.rows * n.width;
  const Index column = target % n.width, row = target / n.width % n.rows, slab = target / n.width / n.rows;
  const Index begin = inside ? first[row] : 0, end = inside ? first[row + 1] : 0;
  const Index head = begin / kPiece, last = end > begin ? (end - 1) / kPiece : head;
  Pack<T, W> sum = {};
  if (head < last)
    for (Index piece = head + sharer; piece <= last; piece += kSharers) {
      const T* const from = piece == head ? tails : heads;
      add(sum, load_pack<W>(from + ((slab * n.pieces() + piece) * n.width + column) * W));
    }
  for (int offset = kWarp / 2; offset >= kTargets; offset /= 2)
    for (int j = 0; j < W; ++j) sum.at[j] += __shfl_xor_sync(kWholeWarp, sum.at[j], offset);
  if (inside && sharer == 0 && (head < last || begin == end)) store_pack(out + target * W, sum);
}

template <class T, int W>
void add_sorted(const Tensor& x, const Order& order, const Tensor& first, Tensor& out) {
  const Extents n{x.dim(0), x.dim(1), out.dim(1), x.dim(2) / W};
  const Index pieces = (n.picks + kPiece - 1) / kPiece;
  Tensor heads = empty({n.slabs, pieces, x.dim(2)}, x.dtype(), x.device()), tails = empty_like(heads);
  launch(sum_pieces<T, W>, dim3(blocks_for("add_rows", n.slabs * pieces * n.width, kThreads)), dim3(kThreads), 0,
         current_stream(), x.data<T>(), order.keys.data<Index>(), order.places.data<Index>(), n, heads.data<T>(),
         tails.data<T>(), out.data<T>());
  launch(join_pieces<T, W>, dim3(blocks_for("add_rows", n.slabs * n.rows * n.width, kJoined)), dim3(kThreads), 0,
         current_stream(), heads.data<T>(), tails.data<T>(), first.data<Index>(), n, out.data<T>());
}

}  // namespace

void select_rows(const Tensor& x, const Tensor& index, Complaint complaint, Tensor& out) {
  if (out.size() == 0) return;
  const auto row_bytes = static_cast<std::uintptr_t>(x.dim(2)) * dtype_bytes(x.dtype());
  std::uintptr_t unit = 16;  // the widest that divides a row and both addresses
  while ((row_bytes | reinterpret_cast<std::uintptr_t>(x.bytes()) | reinterpret_cast<std::uintptr_t>(out.bytes())) %
             unit >
         0)
    unit /= 2;
  const auto width = static_cast<Index>(row_bytes / unit);
  visit_unit(unit, [&]<class Unit>(Type<Unit>) {
    launch(copy_rows<Unit>, dim3(blocks_for("select_rows", out.dim(0) * out.dim(1) * width, kThreads)), dim3(kThreads),
           0, current_stream(), reinterpret_cast<const Unit*>(x.bytes()), index.data<Index>(), x.dim(0), x.dim(1),
           out.dim(1), width, complaint, report(), reinterpret_cast<Unit*>(out.bytes()));
  });
}

void add_rows(const Tensor& x, const Tensor& index, Complaint complaint, Tensor& out) {
  if (out.size() == 0) return;
  const Index picks = index.size(), rows = out.dim(1);
  if (picks == 0) return fill(out, 0);
  Tensor checked = empty_like(index);
  launch(check_rows, dim3(blocks_for("add_rows", picks, kThreads)), dim3(kThreads), 0, current_stream(),
         index.data<Index>(), picks, rows, complaint, report(), checked.data<Index>());
  add_checked_rows(x, checked, out);
}

void add_checked_rows(const Tensor& x, const Tensor& index, Tensor& out) {
  const Index picks = index.size(), rows = out.dim(1);
  const Order order = order_by_key(index, rows + 1);
  Tensor first = empty({rows + 1}, kInt64, index.device());
  launch(find_rows, dim3(blocks_for("add_rows", rows + 1, kThreads)), dim3(kThreads), 0, current_stream(),
         order.keys.data<Index>(), picks, rows, first.data<Index>());
  visit_float("add_rows", x.dtype(), [&]<class T>(Type<T>) {
    constexpr int kWidth = kPackWidth<T>;
    if (can_pack<kWidth>(x.data<T>(), x.dim(2)) && can_pack<kWidth>(out.data<T>(), x.dim(2)))
      add_sorted<T, kWidth>(x, order, first, out);
    else
      add_sorted<T, 1>(x, order, first, out);
  });
}

}  // namespace subquad::kernels::cuda
