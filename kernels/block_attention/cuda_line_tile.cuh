// What block_attention's tensor-core kernels share: tiles of 32 rows from two sources, the tokens and one table of
// summaries.
#pragma once

#include "subquad/kernels/attention/cuda_online.cuh"
#include "subquad/kernels/block_attention/cuda_lines.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kLineRows = kTensorWarps * kFragmentRows;  // that a block owns

// Blocks per multiprocessor that registers must leave room for. Left alone, ptxas spills for more of them.
template <int W>
constexpr int kLineBlocks = W <= 64 ? 2 : 1;

__device__ inline unsigned Range::bits(int first) const {
  return bits_from(begin - first) & bits_below(end - first);
}

// Wide heads in fp32 would spill: fits_lines leaves them to the plain kernels.
template <class Product, int W>
constexpr bool kFitsRegisters = W <= 64 || !std::is_same_v<Product, Fp32Product>;

// Rows of a head. They stand in shared memory, as does all else that a thread needs but once per tile: registers are
// for fragments.
struct LineRows {
  const float* data;
  Index stride;

  template <int Rank>
  static __device__ LineRows of(View<const float, Rank> x, Index b, Index h) {
    return {x.data() + b * x.stride(0) + h * x.stride(1), x.stride(2)};
  }
  __device__ const float* row(int i) const { return data + i * stride; }
};

// As copy_rows of cuda_tile.cuh does.
template <int W>
__device__ void copy_line_rows(const LineRows& from, int first, unsigned bits, RowFormat format, float* tile) {
  if (bits == 0) return;
  const int step = format.packed ? 4 : 1, steps = W / step;
  for (int x = static_cast<int>(threadIdx.x); x < kTileRows * steps; x += kTensorThreads) {
    const int r = x / steps, c = x % steps * step;
    const bool valid = (bits >> r & 1) != 0 && c < format.width;
    const float* source = valid ? from.row(first + r) + c : from.data;
    float* const to = tile + r * kPitch<W> + c;
    if (format.packed)
      copy_async_16(to, source, valid);
    else
      copy_async_4(to, source, valid);
  }
}

// 32 entries of a source: 0 the tokens, 1 the summaries. All bits 0: there is no such tile.
struct EntryTile {
  int source, first;
  unsigned bits;
};

// What a block of queries first ... first + 63 sees, tile by tile.
class EntryWalk {
 public:
  __device__ EntryWalk(const LineSights& sights, const Alive::Sample& alive, int first, bool any)
      : sights_(sights), alive_(alive) {
    const int last = first + kLineRows < sights.count ? first + kLineRows - 1 : sights.count - 1;
    begin_ = sights.tokens(first).begin / kTileRows * kTileRows;
    token_end_ = any ? sights.tokens(last).end : 0;
    summary_end_ = any ? sights.summary_end(last) : 0;
  }
  __device__ EntryTile begin() const { return next(0, begin_); }
  __device__ EntryTile after(const EntryTile& tile) const { return next(tile.source, tile.first + kTileRows); }

 private:
  // All lanes of a warp call.
  __device__ EntryTile next(int source, int first) const {
    for (; source < 2; ++source, first = 0) {
      const int end = source == 0 ? token_end_ : summary_end_;
      for (; first < end; first += kTileRows) {
        const int e = first + static_cast<int>(threadIdx.x) % kWarp;
        const bool counts = e < end && alive_.row(source, e);
        if (const unsigned bits = __ballot_sync(kWholeWarp, counts)) return {source, first, bits};
      }
    }
    return {2, 0, 0};
  }

  const LineSights& sights_;
  const Alive::Sample& alive_;
  int begin_, token_end_, summary_end_;
};

// Keys and values of the entries that a block's queries see: where their rows stand, and two stages of tiles of each,
// of which one is copied while the block works on the other.
template <int W>
class EntryTiles {
 public:
  template <class Arguments>
  __device__ EntryTiles(SharedMemory& shared, const Arguments& args, Index b, Index h)
      : key_tiles_(shared.take<float>(2 * kTileSize<W>)),
        value_tiles_(shared.take<float>(2 * kTileSize<W>)),
        sources_(shared.take<LineRows>(4)) {
    if (threadIdx.x > 0) return;
    sources_[0] = LineRows::of(args.k, b, h);
    sources_[1] = LineRows::of(args.summary_k, b, h);
    sources_[2] = LineRows::of(args.v, b, h);
    sources_[3] = LineRows::of(args.summary_v, b, h);
  }
  static constexpr std::size_t bytes() { return 4 * shared_size<float>(kTileSize<W>) + shared_size<LineRows>(4); }

  // A barrier is needed between the constructor and the first copy.
  __device__ void copy(const EntryTile& tile, int stage, RowFormat format, RowFormat value_format) const {
    const int source = tile.source == 1;
    copy_line_rows<W>(sources_[source], tile.first, tile.bits, format, keys(stage));
    copy_line_rows<W>(sources_[2 + source], tile.first, tile.bits, value_format, values(stage));
    copy_async_commit();
  }
  __device__ float* keys(int stage) const { return key_tiles_ + stage * kTileSize<W>; }
  __device__ float* values(int stage) const { return value_tiles_ + stage * kTileSize<W>; }

 private:
  float *key_tiles_, *value_tiles_;
  LineRows* sources_;
};

// What one of a block's own rows sees or is seen by: `partners` but for the hidden ones, per source.
struct alignas(16) RowSight {
  Range partners, others;

  // A query: a stretch of tokens, and the summaries 0 ... others.begin - 1 but for number others.end (-1: none).
  static __device__ RowSight of_query(const LineSights& sights, int i) {
    return {sights.tokens(i), {sights.summary_end(i), sights.hidden_summary(i)}};
  }
  static __device__ RowSight none() { return {{0, 0}, {0, 0}}; }

  __device__ unsigned entries(const EntryTile& tile) const {
    if (tile.source == 0) return tile.bits & partners.bits(tile.first);
    const Range hidden{others.end, others.end < 0 ? others.end : others.end + 1};
    return tile.bits & bits_below(others.begin - tile.first) & ~hidden.bits(tile.first);
  }
  // A token or summary: queries but for the hidden ones.
  __device__ unsigned queries(int first, unsigned counting) const {
    return counting & partners.bits(first) & ~others.bits(first);
  }
};

// The place of a block: heads outermost.
struct LinePlace {
  int b, h, tile;

  __device__ LinePlace(Index heads, int tiles_of_head, int share = 1) {
    const int block = static_cast<int>(blockIdx.x) / share, head = block / tiles_of_head;
    b = head / static_cast<int>(heads);
    h = head % static_cast<int>(heads);
    tile = block % tiles_of_head;
  }
};

}  // namespace subquad::kernels::cuda
