#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/landmark_softmax/cuda.h"
#include "subquad/kernels/landmark_softmax/cuda_row.cuh"
#include "subquad/kernels/warp/pack.cuh"

// A block per head: up to 64 landmarks and what is between them stay in shared memory, features come 32 at a time. q, k
// and the matrix between them are read or written once.
namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kMost = 64;                  // landmarks
constexpr int kRowsEach = kMost / kWarps;  // of a warp, neighbours
constexpr int kDepth = kWarp;              // features that are staged at a time
constexpr int kPitch = kDepth + 1;         // of staged landmarks: lanes that read a column hit different banks
constexpr int kMatrixPitch = kMost + 4;    // rows start on 16 bytes
using Four = Pack<float, 4>;

// to[r][c] = feature first + c of landmark r; zeros where there is none.
__device__ void stage_landmarks(const float* from, int size, int width, int first, float* to) {
  for (int x = static_cast<int>(threadIdx.x); x < kMost * kDepth; x += kThreads) {
    const int r = x / kDepth, c = x % kDepth;
    to[r * kPitch + c] = r < size && first + c < width ? from[r * width + first + c] : 0.0f;
  }
}

// Thread (y, x) of 16 x 16 makes the logits of landmarks 4 y ... 4 y + 3 with x, x + 16, ...; then a warp has a row.
__global__ void __launch_bounds__(kThreads)
    landmark_weights_blocks(const float* q, const float* k, float scale, Counted counted, Index heads, int size,
                            int width, float* y) {
  SharedMemory shared;
  float* const queries = shared.take<float>(kMost * kPitch);
  float* const keys = shared.take<float>(kMost * kPitch);
  float* const logits = shared.take<float>(kMost * kMatrixPitch);
  const Index head = blockIdx.x, first_feature = head * size * width;
  const int row = static_cast<int>(threadIdx.x) / 16 * 4, column = static_cast<int>(threadIdx.x) % 16;
  float sums[4][4] = {};
  for (int first = 0; first < width; first += kDepth) {
    __syncthreads();  // what was staged before is no longer read
    stage_landmarks(q + first_feature, size, width, first, queries);
    stage_landmarks(k + first_feature, size, width, first, keys);
    __syncthreads();
#pragma unroll 8
    for (int e = 0; e < kDepth; ++e) {
      float own[4], others[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        own[i] = queries[(row + i) * kPitch + e];
        others[i] = keys[(column + 16 * i) * kPitch + e];
      }
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[r][c] += own[r] * others[c];
    }
  }
#pragma unroll
  for (int r = 0; r < 4; ++r)
#pragma unroll
    for (int c = 0; c < 4; ++c) logits[(row + r) * kMatrixPitch + column + 16 * c] = sums[r][c];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < size; i += kWarps)
    weigh_row(logits + i * kMatrixPitch, scale, counted, head / heads, i, size, y + (head * size + i) * size);
}

// What reached a landmark by other ways, and its gradient; the first may have no data.
struct Landmark {
  View<const float, 4> use;
  float* gradient;  // [B, H, M, E]

  __device__ void store(Index b, Index h, Index i, Index row, int width, int c, float sum) const {
    gradient[row * width + c] = use.data() == nullptr ? sum : sum + use(b, h, i, c);
  }
};

// dx of the head first, a warp per row; then a lane has a feature of eight neighbouring landmarks of its warp.
// Two blocks a multiprocessor: left alone ptxas makes room for three and spills.
__global__ void __launch_bounds__(kThreads, 2)
    landmark_weights_grad_blocks(const float* dout, const float* y, const float* q, const float* k, float scale,
                                 Counted counted, Index heads, int size, int width, Landmark query, Landmark key) {
  SharedMemory shared;
  float* const queries = shared.take<float>(kMost * kPitch);
  float* const keys = shared.take<float>(kMost * kPitch);
  float* const dx = shared.take<float>(kMost * kMatrixPitch);
  const Index head = blockIdx.x, b = head / heads, h = head % heads, first_feature = head * size * width;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int own = warp * kRowsEach;
  for (int x = static_cast<int>(threadIdx.x); x < kMost * kMatrixPitch; x += kThreads) dx[x] = 0;
  __syncthreads();
  for (int i = warp; i < size; i += kWarps) {
    const Index row = (head * size + i) * size;
    differentiate_row(dout + row, y + row, scale, counted, b, i, size, dx + i * kMatrixPitch);
  }
  for (int first = 0; first < width; first += kDepth) {
    __syncthreads();  // dx is written, or what was staged before no longer read
    stage_landmarks(q + first_feature, size, width, first, queries);
    stage_landmarks(k + first_feature, size, width, first, keys);
    __syncthreads();
    float dq[kRowsEach] = {}, dk[kRowsEach] = {};
    for (int j = 0; j < size; j += 4) {
      float x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = keys[(j + i) * kPitch + lane];
#pragma unroll
      for (int r = 0; r < kRowsEach; ++r) {
        const Four weights = load_pack<4>(dx + (own + r) * kMatrixPitch + j);
#pragma unroll
        for (int i = 0; i < 4; ++i) dq[r] += weights.at[i] * x[i];
      }
    }
    for (int i = 0; i < size; ++i) {
      const float x = queries[i * kPitch + lane];
#pragma unroll
      for (int r = 0; r < kRowsEach; r += 4) {
        const Four weights = load_pack<4>(dx + i * kMatrixPitch + own + r);
#pragma unroll
        for (int n = 0; n < 4; ++n) dk[r + n] += weights.at[n] * x;
      }
    }
    const int c = first + lane;
    if (c >= width) continue;
#pragma unroll
    for (int r = 0; r < kRowsEach; ++r) {
      const int i = own + r;
      if (i >= size) continue;
      query.store(b, h, i, head * size + i, width, c, dq[r]);
      key.store(b, h, i, head * size + i, width, c, dk[r]);
    }
  }
}

std::size_t bytes() {
  return 2 * shared_size<float>(kMost * kPitch) + shared_size<float>(kMost * kMatrixPitch);
}

}  // namespace

void landmark_weights(const Tensor& q, const Tensor& k, const Tensor& counts, const Tensor& none,
                      const LandmarkSoftmaxOptions& options, Tensor& y) {
  if (y.size() == 0) return;
  launch(landmark_weights_blocks, dim3(blocks_for("landmark_weights", q.dim(0) * q.dim(1), 1)), dim3(kThreads), bytes(),
         current_stream(), q.data<float>(), k.data<float>(), static_cast<float>(options.scale),
         Counted(counts, none, options), q.dim(1), static_cast<int>(q.dim(2)), static_cast<int>(q.dim(3)),
         y.data<float>());
}

void landmark_weights_grad(const Tensor& dout, const Tensor& y, const Tensor& q, const Tensor& k,
                           const Tensor& use_of_q, const Tensor& use_of_k, const Tensor& counts, const Tensor& none,
                           const LandmarkSoftmaxOptions& options, LandmarkGrads& grads) {
  if (q.size() == 0) return;
  const auto landmark = [](const Tensor& use, Tensor& gradient) {
    const View<const float, 4> no_use(nullptr, {0, 0, 0, 0}, {0, 0, 0, 0});
    return Landmark{use.defined() ? use.view<const float, 4>() : no_use, gradient.data<float>()};
  };
  launch(landmark_weights_grad_blocks, dim3(blocks_for("landmark_weights_grad", q.dim(0) * q.dim(1), 1)),
         dim3(kThreads), bytes(), current_stream(), dout.data<float>(), y.data<float>(), q.data<float>(),
         k.data<float>(), static_cast<float>(options.scale), Counted(counts, none, options), q.dim(1),
         static_cast<int>(q.dim(2)), static_cast<int>(q.dim(3)), landmark(use_of_q, grads.dq),
         landmark(use_of_k, grads.dk));
}

}  // namespace subquad::kernels::cuda
