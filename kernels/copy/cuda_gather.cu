#include "subquad/core/cuda/complain.cuh"
#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/copy/cuda.h"
#include "subquad/kernels/copy/units.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// From a place of the index to the element of x that it picks.
struct Picks {
  Picks(const Shape& x, const Shape& index, int along)
      : rank(x.rank()), dim(along), size(index.size()), limit(x[along]) {
    const Shape strides = row_major_strides(x);
    for (int d = 0; d < rank; ++d) {
      extent[d] = index[d];
      stride[d] = strides[d];
    }
  }

  __device__ Index offset(Index place, Index pick) const {
    Index out = pick * stride[dim];
    for (int d = rank - 1; d >= 0; --d) {
      const Index rest = place / extent[d];
      if (d != dim) out += (place - rest * extent[d]) * stride[d];
      place = rest;
    }
    return out;
  }

  int rank, dim;
  Index size, limit;  // of the index; of what it may hold
  Index extent[kMaxRank] = {}, stride[kMaxRank] = {};
};

// One thread per place: index and out are coalesced, x is wherever the index says.
template <class Unit>
__global__ void gather_units(const Unit* x, const Index* index, Picks picks, Report* report, Unit* out) {
  const Index i = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= picks.size) return;
  const Index pick = index[i];
  const bool valid = pick >= 0 && pick < picks.limit;
  if (!valid) complain(report, Complaint::gather_index, i, pick, picks.limit);
  out[i] = valid ? x[picks.offset(i, pick)] : Unit{};
}

// targets[i]: where in dx the place's gradient goes; dx_size for an index out of range.
__global__ void gather_targets(const Index* index, Picks picks, Index dx_size, Report* report, Index* targets) {
  const Index i = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= picks.size) return;
  const Index pick = index[i];
  const bool valid = pick >= 0 && pick < picks.limit;
  if (!valid) complain(report, Complaint::gather_index, i, pick, picks.limit);
  targets[i] = valid ? picks.offset(i, pick) : dx_size;
}

}  // namespace

void gather(const Tensor& x, int dim, const Tensor& index, Tensor& out) {
  if (out.size() == 0) return;
  visit_unit(dtype_bytes(x.dtype()), [&]<class Unit>(Type<Unit>) {
    launch(gather_units<Unit>, dim3(blocks_for("gather", index.size(), kThreads)), dim3(kThreads), 0, current_stream(),
           reinterpret_cast<const Unit*>(x.bytes()), index.data<Index>(), Picks(x.shape(), index.shape(), dim),
           report(), reinterpret_cast<Unit*>(out.bytes()));
  });
}

// To add_checked_rows every element of dx is a row.
void gather_grad(const Tensor& dout, int dim, const Tensor& index, Tensor& dx) {
  if (dx.size() == 0) return;
  if (index.size() == 0) return fill(dx, 0);
  Tensor targets = empty({index.size()}, kInt64, index.device());
  launch(gather_targets, dim3(blocks_for("gather_grad", index.size(), kThreads)), dim3(kThreads), 0, current_stream(),
         index.data<Index>(), Picks(dx.shape(), index.shape(), dim), dx.size(), report(), targets.data<Index>());
  Tensor elements = dx.reshape({1, dx.size(), 1});
  add_checked_rows(dout.reshape({1, dout.size(), 1}), targets, elements);
}

}  // namespace subquad::kernels::cuda
