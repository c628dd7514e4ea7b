#include "subquad/kernels/score_heads/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/gelu.cuh"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

// A block of 128 threads has one head and 128 neighbouring positions of one sample, a thread for each. Features and
// first-layer weights come through shared memory, 32 channels by 16 hidden values at a time, so that any sizes do; the
// 16 hidden values of a thread are registers. Lanes read features of neighbouring positions (a padded pitch: other
// banks) and all the same weights (a broadcast). Bytes of memory: features once (twice in backward beyond 32 channels,
// and again for each 16 hidden values), scores, and in backward dfeature and one set of parameters per block.
namespace subquad::kernels::cuda {
namespace {

constexpr int kPositions = 128;  // of a block: a thread each
constexpr int kChannels = 32, kHidden = 16;
constexpr int kFeaturePitch = kChannels + 1;
constexpr int kHiddenPitch = kHidden + 4;  // rows of 16 bytes, and other banks for neighbouring rows

constexpr int tiles(Index count, int per_tile) {  // at least one: an empty sum is computed, too
  return count > per_tile ? static_cast<int>((count + per_tile - 1) / per_tile) : 1;
}

// 16 neighbouring numbers of a row in shared memory, which starts on 16 bytes.
template <class T>
struct HiddenRow {
  T at[kHidden];

  __device__ explicit HiddenRow(const T* row) {
#pragma unroll
    for (int m = 0; m < kHidden; m += kPackWidth<T>) {
      const auto pack = load_pack<kPackWidth<T>>(row + m);
      for (int i = 0; i < kPackWidth<T>; ++i) at[m + i] = pack.at[i];
    }
  }
};

struct Sizes {
  Index positions, width;  // of feature: N, H R
  int heads, channels, hidden;
};

template <class T>
struct Parameters {
  const T *u, *w1, *b1, *w2;
};

// What a block works on, and the parameters of its head.
template <class T>
struct HeadPositions {
  Index sample, first;
  int head, count, chunk;
  Parameters<T> of;

  __device__ HeadPositions(const Sizes& sizes, const Parameters<T>& all) {
    const Index chunks = (sizes.positions + kPositions - 1) / kPositions, row = blockIdx.x / chunks;
    sample = row / sizes.heads;
    head = static_cast<int>(row % sizes.heads);
    chunk = static_cast<int>(blockIdx.x % chunks);
    first = Index{chunk} * kPositions;
    count = static_cast<int>(sizes.positions - first < kPositions ? sizes.positions - first : kPositions);
    const Index channels = Index{head} * sizes.channels, hidden = Index{head} * sizes.hidden;
    of = {all.u + channels, all.w1 + channels * sizes.hidden, all.b1 + hidden, all.w2 + hidden};
  }
  // Where the head's features of the block's positions start, `width` apart.
  __device__ Index feature_offset(const Sizes& sizes) const {
    return (sample * sizes.positions + first) * sizes.width + Index{head} * sizes.channels;
  }
  __device__ Index score_offset(const Sizes& sizes) const {
    return (sample * sizes.heads + head) * sizes.positions + first;
  }
};

// Tiles in shared memory, zeros beyond what there is.
template <class T>
struct Stage {
  T* features;  // [128][pitch]
  T* weights;   // [32][16] of w1
  T* vectors;   // [3][32]: u of the channels; b1 and w2 of the hidden values

  __device__ explicit Stage(SharedMemory& shared)
      : features(shared.take<T>(kPositions * kFeaturePitch)),
        weights(shared.take<T>(kChannels * kHidden)),
        vectors(shared.take<T>(3 * kChannels)) {}
  static constexpr std::size_t bytes() {
    return shared_size<T>(kPositions * kFeaturePitch) + shared_size<T>(kChannels * kHidden) +
           shared_size<T>(3 * kChannels);
  }
};

// Loads the tiles that are not there yet. N: channels that one thread loads at a time.
template <class T, int N>
class Tiles {
 public:
  __device__ Tiles(const Sizes& sizes, const HeadPositions<T>& mine, const T* feature, const Stage<T>& stage)
      : sizes_(sizes), mine_(mine), feature_(feature + mine.feature_offset(sizes)), stage_(stage) {}

  // All threads of the block call; what stood in the stage is no longer read by anyone afterwards.
  __device__ void load(int channel_tile, int hidden_tile) {
    if (channel_tile == channel_tile_ && hidden_tile == hidden_tile_) return;
    __syncthreads();
    const int thread = static_cast<int>(threadIdx.x), r0 = channel_tile * kChannels, m0 = hidden_tile * kHidden;
    if (channel_tile != channel_tile_) {
      for (int x = thread; x < kPositions * (kChannels / N); x += kPositions) {
        const int p = x / (kChannels / N), r = x % (kChannels / N) * N;
        Pack<T, N> pack = {};
        if (p < mine_.count && r0 + r < sizes_.channels) pack = load_pack<N>(feature_ + p * sizes_.width + r0 + r);
        for (int i = 0; i < N; ++i) stage_.features[p * kFeaturePitch + r + i] = pack.at[i];
      }
      if (thread < kChannels) stage_.vectors[thread] = r0 + thread < sizes_.channels ? mine_.of.u[r0 + thread] : T(0);
    }
    for (int x = thread; x < kChannels * kHidden; x += kPositions) {
      const int r = r0 + x / kHidden, m = m0 + x % kHidden;
      const bool there = r < sizes_.channels && m < sizes_.hidden;
      stage_.weights[x] = there ? mine_.of.w1[Index{r} * sizes_.hidden + m] : T(0);
    }
    if (thread < kHidden) {
      const bool there = m0 + thread < sizes_.hidden;
      stage_.vectors[kChannels + thread] = there ? mine_.of.b1[m0 + thread] : T(0);
      stage_.vectors[2 * kChannels + thread] = there ? mine_.of.w2[m0 + thread] : T(0);
    }
    channel_tile_ = channel_tile;
    hidden_tile_ = hidden_tile;
    __syncthreads();
  }

  // z[m] of this thread's position, for the 16 hidden values of a tile; visit(r, f[r]) for each channel of the tiles.
  template <class F>
  __device__ void hidden_values(int hidden_tile, T (&z)[kHidden], const F& visit) {
    for (T& value : z) value = 0;
    const T* const row = stage_.features + static_cast<int>(threadIdx.x) * kFeaturePitch;
    for (int tile = 0; tile < tiles(sizes_.channels, kChannels); ++tile) {
      load(tile, hidden_tile);
      for (int r = 0; r < kChannels && tile * kChannels + r < sizes_.channels; ++r) {
        const T f = row[r];
        visit(r, f);
        const HiddenRow<T> w(stage_.weights + r * kHidden);
#pragma unroll
        for (int m = 0; m < kHidden; ++m) z[m] += f * w.at[m];
      }
    }
#pragma unroll
    for (int m = 0; m < kHidden; ++m) z[m] += b1(m);
  }

  __device__ T u(int r) const {
    return stage_.vectors[r];
  }
  __device__ T b1(int m) const {
    return stage_.vectors[kChannels + m];
  }
  __device__ T w2(int m) const {
    return stage_.vectors[2 * kChannels + m];
  }

 private:
  const Sizes& sizes_;
  const HeadPositions<T>& mine_;
  const T* feature_;
  const Stage<T>& stage_;
  int channel_tile_ = -1, hidden_tile_ = -1;
};

// What a launch makes one or two of: the second one's blocks have blockIdx.y = 1. A choice between pointers would hide
// from the compiler that they point to global memory, hence a branch around everything.
template <class Set>
struct Sets {
  Set first, second;

  template <class F>
  __device__ void mine(const F& f) const {
    if (blockIdx.y == 0)
      f(first);
    else
      f(second);
  }
};

template <class T>
struct ForwardSet {
  const T* feature;
  Parameters<T> of;
  T* score;
};

template <class T, int N>
__device__ void score_heads_positions_of_set(const ForwardSet<T>& set, Sizes sizes) {
  SharedMemory shared;
  const Stage<T> stage(shared);
  const HeadPositions<T> mine(sizes, set.of);
  Tiles<T, N> tile(sizes, mine, set.feature, stage);
  T sum = 0;
  for (int t = 0; t < tiles(sizes.hidden, kHidden); ++t) {
    T z[kHidden];
    tile.hidden_values(t, z, [&](int r, T f) {
      if (t == 0) sum += tile.u(r) * f;
    });
#pragma unroll
    for (int m = 0; m < kHidden; ++m) sum += tile.w2(m) * (z[m] * normal_cdf(z[m]));
  }
  if (static_cast<int>(threadIdx.x) < mine.count) set.score[mine.score_offset(sizes) + threadIdx.x] = sum;
}

template <class T, int N>
__global__ void score_heads_positions(Sets<ForwardSet<T>> sets, Sizes sizes) {
  sets.mine([&](const ForwardSet<T>& set) { score_heads_positions_of_set<T, N>(set, sizes); });
}

// Offsets in the sums of one head over one block's positions: dw1 [R, M], du [R], db1 [M], dw2 [M].
template <class T>
struct Partial {
  T *w1, *u, *b1, *w2;

  __device__ Partial(T* all, const Sizes& sizes, Index block_of_head) {
    const Index size = Index{sizes.channels} * sizes.hidden;
    w1 = all + block_of_head * (size + sizes.channels + 2 * Index{sizes.hidden});
    u = w1 + size;
    b1 = u + sizes.channels;
    w2 = b1 + sizes.hidden;
  }
};

template <class T>
struct BackwardSet {
  const T *dscore, *feature;
  Parameters<T> of;
  T *partials, *dfeature;
  T *du, *dw1, *db1, *dw2;
};

// As forward, and behind the hidden values of a tile, which become their gradients: df of the thread's position, tile
// by tile of channels through shared memory, and the sums over the block's positions, where lanes are channels (dw1,
// du) or hidden values (db1, dw2).
template <class T, int N>
__device__ void score_heads_grad_positions_of_set(const BackwardSet<T>& set, Sizes sizes) {
  SharedMemory shared;
  const Stage<T> stage(shared);
  T* const dz_rows = shared.take<T>(kPositions * kHiddenPitch);  // dz of all positions
  T* const df_rows = shared.take<T>(kPositions * kFeaturePitch);
  T* const gelu_rows = df_rows;  // dscore gelu(z), which is summed before there is df
  T* const ups = shared.take<T>(kPositions);
  const HeadPositions<T> mine(sizes, set.of);
  Tiles<T, N> tile(sizes, mine, set.feature, stage);
  const Partial<T> partial(set.partials, sizes, blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const T up = thread < mine.count ? set.dscore[mine.score_offset(sizes) + thread] : T(0);
  ups[thread] = up;
  for (int t = 0; t < tiles(sizes.hidden, kHidden); ++t) {
    T z[kHidden];
    tile.hidden_values(t, z, [](int, T) {});
#pragma unroll
    for (int m = 0; m < kHidden; ++m) {
      const T cdf = normal_cdf(z[m]);
      gelu_rows[thread * kHiddenPitch + m] = up * (z[m] * cdf);
      z[m] = up * tile.w2(m) * (cdf + z[m] * normal_density(z[m]));
      dz_rows[thread * kHiddenPitch + m] = z[m];
    }
    __syncthreads();
    if (thread < 2 * kHidden) {  // a warp: half of it sums dz, half the gelus
      const int m = thread % kHidden, at = t * kHidden + m;
      const T* const column = (thread < kHidden ? dz_rows : gelu_rows) + m;
      T sum = 0;
      for (int p = 0; p < kPositions; ++p) sum += column[p * kHiddenPitch];
      if (at < sizes.hidden) (thread < kHidden ? partial.b1 : partial.w2)[at] = sum;
    }
    __syncthreads();
    for (int c = 0; c < tiles(sizes.channels, kChannels); ++c) {
      tile.load(c, t);
      const int r = c * kChannels + lane;  // of the sums
      T sums[kHidden / 4] = {};            // of four hidden values per warp
      for (int p = 0; p < kPositions; ++p) {
        const T f = stage.features[p * kFeaturePitch + lane];
        const T* const dz = dz_rows + p * kHiddenPitch + warp * 4;
        for (int m = 0; m < 4; ++m) sums[m] += f * dz[m];
      }
      for (int m = 0; m < 4; ++m) {
        const int at = t * kHidden + warp * 4 + m;
        if (r < sizes.channels && at < sizes.hidden) partial.w1[Index{r} * sizes.hidden + at] = sums[m];
      }
      if (t == 0 && warp == 0) {
        T sum = 0;
        for (int p = 0; p < kPositions; ++p) sum += ups[p] * stage.features[p * kFeaturePitch + lane];
        if (r < sizes.channels) partial.u[r] = sum;
      }
      for (int x = 0; x < kChannels; ++x) {
        T df = t == 0 ? up * tile.u(x) : T(0);
        const HiddenRow<T> w(stage.weights + x * kHidden);
#pragma unroll
        for (int m = 0; m < kHidden; ++m) df += w.at[m] * z[m];
        df_rows[thread * kFeaturePitch + x] = df;
      }
      __syncthreads();
      T* const to = set.dfeature + mine.feature_offset(sizes) + c * kChannels;
      const int channels = sizes.channels - c * kChannels < kChannels ? sizes.channels - c * kChannels : kChannels;
      for (int p = warp; p < mine.count; p += kPositions / kWarp) {
        if (lane >= channels) continue;
        T& place = to[p * sizes.width + lane];
        place = t == 0 ? df_rows[p * kFeaturePitch + lane] : place + df_rows[p * kFeaturePitch + lane];
      }
      __syncthreads();
    }
  }
}

template <class T, int N>
__global__ void score_heads_grad_positions(Sets<BackwardSet<T>> sets, Sizes sizes) {
  sets.mine([&](const BackwardSet<T>& set) { score_heads_grad_positions_of_set<T, N>(set, sizes); });
}

constexpr int kGroup = 16;  // blocks of a sample whose sums are added first
constexpr int kRows = 16;   // of threads that share the sums of 32 parameters

// A block per 32 parameters, one per lane. Row y of threads adds up the groups g of samples b with (b + g) mod 16 == y,
// samples outermost; then rows are added in order. What a block of zero gradients adds does not change a bit, wherever
// a sample ends.
template <class T>
__device__ void add_score_heads_partials_of_set(const BackwardSet<T>& set, Index samples, Index chunks, Sizes sizes) {
  SharedMemory shared;
  T* const rows = shared.take<T>(kRows * kWarp);
  const Index matrix = Index{sizes.channels} * sizes.hidden, size = matrix + sizes.channels + 2 * Index{sizes.hidden};
  const Index parameter = Index{blockIdx.x} * kWarp + threadIdx.x, head = parameter / size, at = parameter % size;
  const bool there = head < sizes.heads;
  const Index groups = (chunks + kGroup - 1) / kGroup;
  T sum = 0;
  for (Index b = 0; there && b < samples; ++b) {
    const Index skipped = b % kRows, y = threadIdx.y;
    for (Index g = y >= skipped ? y - skipped : y + kRows - skipped; g < groups; g += kRows) {
      const T* const from = set.partials + ((b * sizes.heads + head) * chunks + g * kGroup) * size + at;
      const int count = static_cast<int>(chunks - g * kGroup < kGroup ? chunks - g * kGroup : kGroup);
      T group = 0;
#pragma unroll 8
      for (int c = 0; c < count; ++c) group += from[c * size];
      sum += group;
    }
  }
  rows[threadIdx.y * kWarp + threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || !there) return;
  sum = 0;
  for (int y = 0; y < kRows; ++y) sum += rows[y * kWarp + static_cast<int>(threadIdx.x)];
  if (at < matrix)
    set.dw1[head * matrix + at] = sum;
  else if (at < matrix + sizes.channels)
    set.du[head * sizes.channels + at - matrix] = sum;
  else if (at < matrix + sizes.channels + sizes.hidden)
    set.db1[head * sizes.hidden + at - matrix - sizes.channels] = sum;
  else
    set.dw2[head * sizes.hidden + at - matrix - sizes.channels - sizes.hidden] = sum;
}

template <class T>
__global__ void add_score_heads_partials(Sets<BackwardSet<T>> sets, Index samples, Index chunks, Sizes sizes) {
  sets.mine([&](const BackwardSet<T>& set) { add_score_heads_partials_of_set<T>(set, samples, chunks, sizes); });
}

Sizes sizes_of(const Tensor& feature, const ScoreHeads& heads) {
  return {feature.dim(1), feature.dim(2), static_cast<int>(heads.u.dim(0)), static_cast<int>(heads.u.dim(1)),
          static_cast<int>(heads.b1.dim(1))};
}
template <class T>
Parameters<T> parameters_of(const ScoreHeads& heads) {
  return {heads.u.data<T>(), heads.w1.data<T>(), heads.b1.data<T>(), heads.w2.data<T>()};
}

Index chunks_of(const Tensor& feature) {  // of positions, per sample
  return (feature.dim(1) + kPositions - 1) / kPositions;
}

// Calls f with the channels that are loaded together: 16 bytes, or one.
template <class T, class F>
void with_channel_pack(std::span<const Tensor> features, Index channels, const F& f) {
  if constexpr (std::is_same_v<T, float>)
    if (std::all_of(features.begin(), features.end(),
                    [&](const Tensor& feature) { return can_pack<4>(feature.data<T>(), channels); }))
      return f(std::integral_constant<int, 4>());
  f(std::integral_constant<int, 1>());
}

}  // namespace

void score_heads(std::span<const Tensor> features, std::span<const ScoreHeads> heads, std::span<Tensor> scores) {
  const Tensor& feature = features[0];
  if (scores[0].size() == 0) return;
  visit_float("score_heads", feature.dtype(), [&]<class T>(Type<T>) {
    const auto set = [&](std::size_t s) {
      return ForwardSet<T>{features[s].data<T>(), parameters_of<T>(heads[s]), scores[s].data<T>()};
    };
    const unsigned count = static_cast<unsigned>(features.size());
    const Sets<ForwardSet<T>> sets{set(0), set(count - 1)};
    with_channel_pack<T>(features, heads[0].u.dim(1), [&]<int N>(std::integral_constant<int, N>) {
      const Index blocks = feature.dim(0) * heads[0].u.dim(0) * chunks_of(feature);
      launch(score_heads_positions<T, N>, dim3(blocks_for("score_heads", blocks, 1), count), dim3(kPositions),
             Stage<T>::bytes(), current_stream(), sets, sizes_of(feature, heads[0]));
    });
  });
}

void score_heads_grad(std::span<const Tensor> dscores, std::span<const Tensor> features,
                      std::span<const ScoreHeads> heads, std::span<ScoreHeadsGrads> grads) {
  constexpr const char* kOp = "score_heads_grad";
  const Tensor& feature = features[0];
  const Index channels = heads[0].u.dim(1), hidden = heads[0].b1.dim(1);
  const Index parameters = heads[0].u.dim(0) * (channels * hidden + channels + 2 * hidden);
  const Index chunks = chunks_of(feature), blocks = feature.dim(0) * chunks;
  if (parameters == 0) return;
  const unsigned count = static_cast<unsigned>(features.size());
  Tensor partials = empty({count, blocks, parameters}, feature.dtype(), feature.device(), kOp);
  visit_float(kOp, feature.dtype(), [&]<class T>(Type<T>) {
    const auto set = [&](std::size_t s) {
      ScoreHeads& sums = grads[s].dheads;
      return BackwardSet<T>{dscores[s].data<T>(),
                            features[s].data<T>(),
                            parameters_of<T>(heads[s]),
                            partials.data<T>() + static_cast<Index>(s) * blocks * parameters,
                            grads[s].dfeature.data<T>(),
                            sums.u.data<T>(),
                            sums.w1.data<T>(),
                            sums.b1.data<T>(),
                            sums.w2.data<T>()};
    };
    const Sets<BackwardSet<T>> sets{set(0), set(count - 1)};
    const Sizes sizes = sizes_of(feature, heads[0]);
    if (blocks > 0) {
      with_channel_pack<T>(features, channels, [&]<int N>(std::integral_constant<int, N>) {
        const std::size_t bytes = Stage<T>::bytes() + shared_size<T>(kPositions * kHiddenPitch) +
                                  shared_size<T>(kPositions * kFeaturePitch) + shared_size<T>(kPositions);
        launch(score_heads_grad_positions<T, N>, dim3(blocks_for(kOp, blocks * sizes.heads, 1), count),
               dim3(kPositions), bytes, current_stream(), sets, sizes);
      });
    }
    launch(add_score_heads_partials<T>, dim3(blocks_for(kOp, parameters, kWarp), count), dim3(kWarp, kRows),
           shared_size<T>(kRows * kWarp), current_stream(), sets, feature.dim(0), chunks, sizes);
  });
}

}  // namespace subquad::kernels::cuda
