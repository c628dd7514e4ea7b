// What the tensor-core kernels of factor_mlp share. They are built like attention's (attention/cuda_tile.cuh): a hidden
// unit is to a row what a key and its value are to a query, its weights in the first layer the key, those in the second
// one the value, and gelu stands where the softmax does. Inputs are padded with zeros to W columns, outputs to V.
#pragma once

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/cuda_tile.cuh"
#include "subquad/kernels/factor_mlp/cuda_tensor_core.h"
#include "subquad/kernels/warp/gelu.cuh"

namespace subquad::kernels::cuda {

inline constexpr Index kWidestLayer = 128;

struct MlpArguments {
  View<const float, 4> x;       // [1, 1, R, I], R = B N
  View<const float, 4> first;   // [1, M, H, I]
  const float* first_bias;      // [M, H]
  View<const float, 4> second;  // [1, M, H, O]
  const float* second_bias;     // [M, O]
  const bool* real;             // [R], or null
  bool packed_inputs, packed_outputs;

  MlpArguments(const Tensor& x_rows, const FactorMlp& mlp, const Tensor& turned, const Mask& mask, bool inputs_packed,
               bool outputs_packed)
      : x(as_rows(x_rows, 1).view<const float, 4>()),
        first(as_rows(turned, turned.dim(0)).view<const float, 4>()),
        first_bias(mlp.first_bias.data<float>()),
        second(as_rows(mlp.second, turned.dim(0)).view<const float, 4>()),
        second_bias(mlp.second_bias.data<float>()),
        real(mask.defined() ? mask.real.data<bool>() : nullptr),
        packed_inputs(inputs_packed),
        packed_outputs(outputs_packed) {}

  // t [.., D] as [1, groups, .., D]
  static Tensor as_rows(const Tensor& t, Index groups) {
    return t.reshape({1, groups, t.size() / groups / t.dim(-1), t.dim(-1)});
  }

  __device__ int rows() const { return static_cast<int>(x.dim(2)); }
  __device__ int factors() const { return static_cast<int>(first.dim(1)); }
  __device__ int hidden() const { return static_cast<int>(first.dim(2)); }
  __device__ RowFormat inputs() const { return {static_cast<int>(x.dim(3)), packed_inputs}; }
  __device__ RowFormat outputs() const { return {static_cast<int>(second.dim(3)), packed_outputs}; }
  __device__ bool is_real(int row) const { return row < rows() && (real == nullptr || real[row]); }
};

// May rows of `width` numbers of all these tensors be moved in packs of four?
template <class... Tensors>
bool mlp_rows_packed(Index width, const Tensors&... tensors) {
  return (can_pack<4>(tensors.template data<float>(), width) && ...);
}

// 32 hidden units of one perceptron in shared memory: their weights in both layers, and their biases.
template <int W, int V>
struct HiddenTile {
  float *first, *second, *bias;

  static constexpr int kSize = kTileSize<W> + kTileSize<V> + kTileRows;
  __device__ explicit HiddenTile(float* memory)
      : first(memory), second(first + kTileSize<W>), bias(second + kTileSize<V>) {}

  // Starts copying those from unit h of perceptron m on; behind the last one there are zeros.
  __device__ void copy(const MlpArguments& args, int m, int h) const {
    const unsigned bits = bits_below(args.hidden() - h);
    copy_rows<W>(HeadRows<const float>(args.first, 0, m), h, bits, args.inputs(), first);
    copy_rows<V>(HeadRows<const float>(args.second, 0, m), h, bits, args.outputs(), second);
    const int r = static_cast<int>(threadIdx.x);
    const float* const biases = args.first_bias + static_cast<Index>(m) * args.hidden();
    if (r < kTileRows) copy_async_4(bias + r, h + r < args.hidden() ? biases + h + r : biases, h + r < args.hidden());
  }
};

// z [rows][32 units], without its bias, and what of the bias belongs to column n, place e of a fragment.
template <int W, int V>
__device__ float unit_bias(const HiddenTile<W, V>& tile, int n, int e) {
  return tile.bias[8 * n + 2 * Lane().t + e % 2];
}

// Calls f with constants: the smallest compiled widths that hold inputs and outputs. Few outputs are what link weights
// are, as many as inputs what values are.
template <class F>
void visit_layer_widths(Index inputs, Index outputs, F&& f) {
  visit_width(inputs, outputs, [&]<int W>(std::integral_constant<int, W> wide) {
    if (W > 32 && outputs <= 32) return f(wide, std::integral_constant<int, 32>{});
    f(wide, wide);
  });
}

}  // namespace subquad::kernels::cuda
