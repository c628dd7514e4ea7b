#include "subquad/kernels/matmul/to_bfloat16.h"

#include <utility>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/matmul/batched.h"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/ptx.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWide = 8;           // elements per thread: 32 bytes read, 16 written
constexpr Index kAlignment = 128;  // elements: results start on 256 bytes

// From [.., rows, columns] in memory of any strides, or `flat`: without gaps.
struct Conversion {
  const float* from;
  BFloat16* to;
  Index items;  // packs of eight, or single elements where packs do not divide rows
  Index extent[4], stride[4];
  bool wide, flat;
};

// What one launch converts.
struct Conversions {
  static constexpr int kMost = 8;
  Conversion each[kMost];
  unsigned first_block[kMost + 1];
  int count = 0;
};

// Element (or first element of a pack) number `at` of x, counted in row-major order.
__device__ const float* element(const Conversion& x, Index at) {
  if (x.flat) return x.from + at;
  Index offset = 0;
#pragma unroll
  for (int d = 3; d > 0; --d) {
    offset += at % x.extent[d] * x.stride[d];
    at /= x.extent[d];
  }
  return x.from + offset + at * x.stride[0];
}

// A block finds its tensor. One thread per eight neighbours of a row (a warp reads 1 KiB and writes 512 bytes without
// gaps), or per element.
__global__ void convert_to_bfloat16(Conversions list) {
  int i = 0;
  while (list.first_block[i + 1] <= blockIdx.x) ++i;
  const Conversion& mine = list.each[i];
  const Index item = Index{blockIdx.x - list.first_block[i]} * kThreads + threadIdx.x;
  if (item >= mine.items) return;
  if (!mine.wide) {
    mine.to[item] = BFloat16(*element(mine, item));
    return;
  }
  const float* const from = element(mine, item * kWide);
  const auto low = load_pack<4>(from), high = load_pack<4>(from + 4);
  const Pack<std::uint32_t, 4> words = {to_bf16x2(low.at[0], low.at[1]), to_bf16x2(low.at[2], low.at[3]),
                                        to_bf16x2(high.at[0], high.at[1]), to_bf16x2(high.at[2], high.at[3])};
  store_pack(reinterpret_cast<std::uint32_t*>(mine.to) + item * 4, words);
}

void start(const Conversions& list) {
  if (list.count > 0)
    launch(convert_to_bfloat16, dim3(list.first_block[list.count]), dim3(kThreads), 0, current_stream(), list);
}

// Row-major in, contiguous out.
Conversion conversion(const Tensor& x, Tensor& out) {
  const bool flat = x.is_contiguous();
  Tensor from = flat ? x.reshape({x.size()}) : x;
  while (from.rank() < 4) from = from.unsqueeze(0);
  Conversion mine{std::as_const(from).data<float>(), out.data<BFloat16>(), x.size(), {}, {}, true, flat};
  for (int d = 0; d < 4; ++d) {
    mine.extent[d] = from.dim(d);
    mine.stride[d] = from.strides()[d];
    const bool packs = d == 3 ? mine.extent[d] % kWide == 0 && mine.stride[d] == 1
                              : mine.extent[d] == 1 || can_pack<4>(mine.from, mine.stride[d]);
    mine.wide = mine.wide && packs;
  }
  mine.wide = mine.wide && can_pack<4>(mine.from, 0);
  if (mine.wide) mine.items /= kWide;
  return mine;
}

// x without the dimensions along which it repeats itself, row by row; `turned` where it is a transpose.
struct Rows {
  Tensor x;
  bool turned;

  explicit Rows(const Tensor& all) : x(all) {
    for (int d = 0; d + 2 < all.rank(); ++d)
      if (all.strides()[d] == 0 && all.dim(d) > 1) x = x.slice(d, 0, 1);
    turned = !is_row_major(x);
    if (turned) x = x.transpose(-2, -1);
    if (x.rank() > 4) x = x.contiguous();
  }
  Index room() const { return (x.size() + kAlignment - 1) / kAlignment * kAlignment; }
};

}  // namespace

std::vector<Tensor> to_bfloat16(const std::vector<Tensor>& tensors) {
  std::vector<Rows> rows;
  Index room = 0;
  for (const Tensor& tensor : tensors) room += rows.emplace_back(tensor).room();
  const Tensor all = empty({room}, kBFloat16, tensors[0].device(), "to_bfloat16");
  std::vector<Tensor> results;
  Conversions list;
  Index place = 0;
  for (const Rows& each : rows) {
    Tensor out = all.slice(0, place, place + each.x.size()).reshape(each.x.shape());
    place += each.room();
    if (out.size() > 0) {
      if (list.count == 0) list.first_block[0] = 0;
      list.each[list.count] = conversion(each.x, out);
      const unsigned blocks = blocks_for("to_bfloat16", list.each[list.count].items, kThreads);
      list.first_block[list.count + 1] = list.first_block[list.count] + blocks;
      if (++list.count == Conversions::kMost) {
        start(list);
        list = Conversions();
      }
    }
    results.push_back(each.turned ? out.transpose(-2, -1) : out);
  }
  start(list);
  return results;
}

}  // namespace subquad::kernels::cuda
