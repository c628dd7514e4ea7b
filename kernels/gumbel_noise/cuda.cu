#include "subquad/kernels/gumbel_noise/cuda.h"

#include "subquad/core/cuda/launch.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// One thread per position and four heads, which share a draw of Philox; neighbouring threads take neighbouring
// positions. The logarithms are taken in float64, as on the CPU. Only writes: B H N numbers.
template <class T>
__global__ void gumbel_noise_quads(PhiloxKey key, const Index* step, const Index* samples, GumbelOptions options,
                                   Index heads, Index positions, Index count, T* out) {
  const Index i = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const Index quads = (heads + 3) / 4, n = i % positions, quad = i / positions % quads, b = i / (positions * quads);
  const Index now = *step;
  const double done = options.fade_steps == 0 ? 0 : static_cast<double>(now) / static_cast<double>(options.fade_steps);
  const double gamma = done < 1 ? options.scale * (1 - done) : 0;
  const PhiloxCounter words = philox4x32({static_cast<std::uint32_t>(quad), static_cast<std::uint32_t>(n),
                                          static_cast<std::uint32_t>(samples[b]), static_cast<std::uint32_t>(now)},
                                         key);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const Index h = 4 * quad + j;
    if (h >= heads) return;
    const double u = (static_cast<double>(words[static_cast<std::size_t>(j)] >> 8) + 0.5) * 0x1p-24;
    out[(b * heads + h) * positions + n] = static_cast<T>(-gamma * std::log(-std::log(u)));
  }
}

}  // namespace

void gumbel_noise(const RandomState& random, const GumbelOptions& options, Tensor& out) {
  if (out.size() == 0) return;
  const Index heads = out.dim(1), positions = out.dim(2), count = out.dim(0) * ((heads + 3) / 4) * positions;
  visit_float("gumbel_noise", out.dtype(), [&]<class T>(Type<T>) {
    launch(gumbel_noise_quads<T>, dim3(blocks_for("gumbel_noise", count, kThreads)), dim3(kThreads), 0,
           current_stream(), philox_key(random.seed, random.stream), random.step.data<Index>(),
           random.samples.data<Index>(), options, heads, positions, count, out.data<T>());
  });
}

}  // namespace subquad::kernels::cuda
