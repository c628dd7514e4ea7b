// How threads share the rows of a matrix. A kernel is written once, for a `Row` that is one of
//
//   WarpRow   a warp per row, which stays in registers: one read from memory however often the kernel looks at it
//   BlockRow  a block per row of any width, which is read again (from cache) at each look
//
//   const Row row(width, shared);
//   if (row.index() >= rows) return;
//   const auto in = row.keep(x + row.index() * width);
//   const T sum = row.template reduce<Sum>(T(0), [&](auto at) { return in[at]; });
//   row.write(y + row.index() * width, [&](auto at) { return map([&](T v) { return v / sum; }, in[at]); });
//
// `at` is a place of the row: kPack neighbouring elements from at.column on, always of the same thread. Lambdas get
// places and return packs. Rows are [width] contiguous; with kPack > 1 they start on 16 bytes and width is a multiple
// of kPack.
#pragma once

#include <type_traits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/core/tensor.h"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

// Element by element: f(a, b...) of all packs.
template <class F, class T, int N, class... More>
__device__ inline Pack<T, N> map(const F& f, const Pack<T, N>& first, const More&... more) {
  Pack<T, N> out;
  for (int i = 0; i < N; ++i) out.at[i] = f(first.at[i], more.at[i]...);
  return out;
}

// What both kinds of row have in common. Layout::each(f) calls f(place) for the places of this thread, in order.
template <class T, int N, class Layout>
class RowVerbs {
 public:
  static constexpr int kPack = N;

  template <class F>
  __device__ void write(T* row, const F& f) const {
    layout().each([&](auto at) { store_pack<N>(row + at.column, f(at)); });
  }

  // Op over all elements of the packs that f returns. All threads of the row call and get the result.
  template <class Op, class F>
  __device__ T reduce(T identity, const F& f) const {
    T value = identity;
    layout().each([&](auto at) {
      const Pack<T, N> pack = f(at);
      for (int i = 0; i < N; ++i) value = Op::of(value, pack.at[i]);
    });
    return layout().template reduce_threads<Op>(value, identity);
  }

  // A row that stands in memory, to look at with [place].
  __device__ auto keep(const T* row) const {
    return layout().make(row, [&](auto at) { return load_pack<N>(row + at.column); });
  }

 private:
  __device__ const Layout& layout() const { return static_cast<const Layout&>(*this); }
};

// Lane l has the packs l, l + 32, ... of its row: at most kSlots of them.
template <class T, int N, int kSlots>
class WarpRow : public RowVerbs<T, N, WarpRow<T, N, kSlots>> {
 public:
  struct Place {
    int slot, column;
  };
  class Kept {
   public:
    __device__ const Pack<T, N>& operator[](Place at) const { return packs_[at.slot]; }

   private:
    friend WarpRow;
    Pack<T, N> packs_[kSlots];
  };

  static constexpr int kRows = 4;  // of a block at a time
  static constexpr int kThreads = kRows * kWarp;
  static constexpr Index kWidest = Index{kSlots} * kWarp * N;
  static constexpr std::size_t kSharedBytes = 0;

  __device__ WarpRow(Index width, SharedMemory&) : width_(static_cast<int>(width)) {}

  static __device__ int within_block() { return static_cast<int>(threadIdx.x) / kWarp; }
  static __device__ Index index() { return Index{blockIdx.x} * kRows + within_block(); }  // where a block has kRows
  static __device__ bool is_first_thread() { return threadIdx.x % kWarp == 0; }

  template <class F>
  __device__ void each(const F& f) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      if (slot * kWarp * N >= width_) break;  // the whole warp
      const int column = (slot * kWarp + lane) * N;
      if (column < width_) f(Place{slot, column});
    }
  }
  // A row to look at, made of the packs that f returns. `row` is where the same packs stand in memory, put there by f
  // if they were not there before.
  template <class F>
  __device__ Kept make(const T* /*row*/, const F& f) const {
    Kept kept;
    each([&](Place at) { kept.packs_[at.slot] = f(at); });
    return kept;
  }
  template <class Op>
  __device__ T reduce_threads(T value, T) const {
    return warp_reduce<Op>(value);
  }

 private:
  int width_;
};

// Thread t has the packs t, t + kThreads, ... of its row.
template <class T, int N>
class BlockRow : public RowVerbs<T, N, BlockRow<T, N>> {
 public:
  struct Place {
    Index column;
  };
  class Kept {
   public:
    __device__ Pack<T, N> operator[](Place at) const { return load_pack<N>(row_ + at.column); }

   private:
    friend BlockRow;
    const T* row_;
  };

  static constexpr int kRows = 1;
  static constexpr int kThreads = 256;
  static constexpr std::size_t kSharedBytes = shared_size<T>(kWarp);

  __device__ BlockRow(Index width, SharedMemory& shared) : width_(width), scratch_(shared.take<T>(kWarp)) {}

  static __device__ int within_block() { return 0; }
  static __device__ Index index() { return blockIdx.x; }
  static __device__ bool is_first_thread() { return threadIdx.x == 0; }

  template <class F>
  __device__ void each(const F& f) const {
    for (Index column = Index{threadIdx.x} * N; column < width_; column += Index{kThreads} * N) f(Place{column});
  }
  template <class F>
  __device__ Kept make(const T* row, const F& f) const {
    each([&](Place at) { f(at); });  // for what it writes; a thread reads again only what it wrote itself
    Kept kept;
    kept.row_ = row;
    return kept;
  }
  template <class Op>
  __device__ T reduce_threads(T value, T identity) const {
    return block_reduce<Op>(value, identity, scratch_);
  }

 private:
  Index width_;
  T* scratch_;
};

// May rows of `width` elements of all these contiguous tensors be moved 16 bytes at a time? Undefined ones do not mind.
template <class T, class... Tensors>
bool rows_can_pack(Index width, const Tensors&... tensors) {
  return ((!tensors.defined() || can_pack<kPackWidth<T>>(tensors.template data<T>(), width)) && ...);
}

// Calls f(Type<Row>) with the kind of row for a width. float64 is there for gradient checks and moves one element at a
// time, which keeps the number of kernels down.
template <class T, class F>
void with_row(Index width, bool packs, const F& f) {
  if constexpr (std::is_same_v<T, float>) {
    if (packs) {
      if (width <= WarpRow<T, 4, 2>::kWidest) return f(Type<WarpRow<T, 4, 2>>{});
      if (width <= WarpRow<T, 4, 8>::kWidest) return f(Type<WarpRow<T, 4, 8>>{});
      return f(Type<BlockRow<T, 4>>{});
    }
  }
  constexpr int kSlots = 128 / sizeof(T);  // float: up to 1024 columns; double: 512
  if (width <= WarpRow<T, 1, kSlots>::kWidest) return f(Type<WarpRow<T, 1, kSlots>>{});
  f(Type<BlockRow<T, 1>>{});
}

}  // namespace subquad::kernels::cuda
