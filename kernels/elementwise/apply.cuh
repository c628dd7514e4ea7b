// out[i] = f(in[i]...) over operands of any layout: the two kernels behind every function of this room.
#pragma once

#include <algorithm>
#include <utility>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/elementwise/joint_layout.h"
#include "subquad/kernels/warp/pack.cuh"

namespace subquad::kernels::cuda {

// A joint layout as it travels to the GPU, and the way from a row-major position to one offset per operand.
template <int Operands>
struct Walk {
  explicit Walk(const JointLayout& layout) : rank(layout.extents.rank()), size(layout.size()) {
    for (int d = 0; d < rank; ++d) {
      extent[d] = layout.extents[d];
      for (int k = 0; k < Operands; ++k) stride[k][d] = layout.strides[static_cast<std::size_t>(k)][d];
    }
  }

  __device__ void offsets(Index position, Index (&at)[Operands]) const {
    for (int k = 0; k < Operands; ++k) at[k] = 0;
    for (int d = rank - 1; d > 0; --d) {
      const Index rest = position / extent[d], index = position - rest * extent[d];
      for (int k = 0; k < Operands; ++k) at[k] += index * stride[k][d];
      position = rest;
    }
    for (int k = 0; k < Operands; ++k) at[k] += position * stride[k][0];
  }

  int rank;
  Index size;
  Index extent[kMaxRank] = {};
  Index stride[Operands][kMaxRank] = {};
};

inline constexpr int kApplyThreads = 256;
inline constexpr int kApplyEach = 4;  // elements of a thread when they do not come in packs

// Elements that a thread moves at once: 16 bytes of the widest operand.
template <class... T>
inline constexpr int kApplyWidth = 16 / static_cast<int>(std::max({sizeof(T)...}));

template <class Out, int N, class F, class... In>
__device__ Pack<Out, N> apply_each(const F& f, const Pack<In, N>&... in) {
  Pack<Out, N> out;
  for (int j = 0; j < N; ++j) out.at[j] = f(in.at[j]...);
  return out;
}

// Everything contiguous: one pack per thread, neighbouring threads on neighbouring packs. The elements behind the last
// whole pack go to the threads behind the last pack, one each.
template <class F, class Out, class... In>
__global__ void apply_packed(F f, Index size, Out* out, const In*... in) {
  constexpr int kWidth = kApplyWidth<Out, In...>;
  const Index thread = Index{blockIdx.x} * kApplyThreads + threadIdx.x, packs = size / kWidth;
  if (thread < packs) {
    const Index first = thread * kWidth;
    store_pack(out + first, apply_each<Out, kWidth>(f, load_pack<kWidth>(in + first)...));
  } else if (const Index i = packs * kWidth + (thread - packs); i < size) {
    out[i] = f(in[i]...);
  }
}

template <class F, class... In, std::size_t... K>
__device__ auto apply_at(const F& f, const Index* at, std::index_sequence<K...>, const In*... in) {
  return f(in[at[K + 1]]...);
}

// Any layout: kApplyEach elements per thread, a block apart, so that neighbouring threads meet neighbouring positions;
// all of them are read before the first is written, to have their loads under way together.
template <class F, class Out, class... In>
__global__ void apply_strided(F f, Walk<1 + sizeof...(In)> walk, Out* out, const In*... in) {
  const Index first = Index{blockIdx.x} * kApplyThreads * kApplyEach + threadIdx.x;
  Out result[kApplyEach];
  Index place[kApplyEach];
  for (int j = 0; j < kApplyEach; ++j) {
    const Index position = first + j * kApplyThreads;
    if (position >= walk.size) continue;
    Index at[1 + sizeof...(In)];
    walk.offsets(position, at);
    place[j] = at[0];
    result[j] = apply_at(f, at, std::index_sequence_for<In...>(), in...);
  }
  for (int j = 0; j < kApplyEach; ++j)
    if (first + j * kApplyThreads < walk.size) out[place[j]] = result[j];
}

// The layout's operands are out and in, in this order; `out` may be one of the inputs.
template <class F, class Out, class... In>
void apply(const char* op, const JointLayout& layout, const F& f, Out* out, const In*... in) {
  constexpr int kWidth = kApplyWidth<Out, In...>;
  const Index size = layout.size();
  if (size == 0) return;
  const bool aligned = can_pack<kWidth>(out, kWidth) && (can_pack<kWidth>(in, kWidth) && ...);
  if (layout.is_flat() && aligned) {
    const Index threads = size / kWidth + size % kWidth;
    launch(apply_packed<F, Out, In...>, dim3(blocks_for(op, threads, kApplyThreads)), dim3(kApplyThreads), 0,
           current_stream(), f, size, out, in...);
  } else {
    launch(apply_strided<F, Out, In...>, dim3(blocks_for(op, size, Index{kApplyThreads} * kApplyEach)),
           dim3(kApplyThreads), 0, current_stream(), f, Walk<1 + sizeof...(In)>(layout), out, in...);
  }
}

}  // namespace subquad::kernels::cuda
