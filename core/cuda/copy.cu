#include "subquad/core/cuda/copy.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <numeric>

#include "subquad/core/convert.h"
#include "subquad/core/cuda/launch.cuh"

namespace subquad::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;  // items, a block's width apart: several loads are in flight

// The elements of two tensors side by side, in the order of the target's strides: threads that are neighbours write
// neighbours. Dimensions that lie gapless in each other on both sides are one.
struct Walk {
  int rank = 0;
  Index count = 1;
  Index extent[kMaxRank] = {};
  Index from_stride[kMaxRank] = {};
  Index to_stride[kMaxRank] = {};
};

struct Place {
  Index from = 0, to = 0;  // offsets in elements
};

__device__ inline Place place_of(const Walk& walk, Index item) {
  Place place;
  for (int d = walk.rank - 1; d >= 0; --d) {
    const Index rest = d > 0 ? item / walk.extent[d] : 0;
    const Index i = item - rest * walk.extent[d];
    place.from += i * walk.from_stride[d];
    place.to += i * walk.to_stride[d];
    item = rest;
  }
  return place;
}

Walk walk_of(const Shape& shape, const Shape& from_strides, const Shape& to_strides) {
  std::array<int, kMaxRank> order = {};
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.begin() + shape.rank(),
                   [&](int a, int b) { return to_strides[a] > to_strides[b]; });
  Walk walk;
  walk.count = shape.size();
  for (int n = 0; n < shape.rank(); ++n) {
    const int d = order[static_cast<std::size_t>(n)];
    const Index extent = shape[d], from = from_strides[d], to = to_strides[d];
    if (extent == 1) continue;
    const int last = walk.rank - 1;
    if (last >= 0 && walk.from_stride[last] == extent * from && walk.to_stride[last] == extent * to) {
      walk.extent[last] *= extent;
      walk.from_stride[last] = from;
      walk.to_stride[last] = to;
    } else {
      walk.extent[walk.rank] = extent;
      walk.from_stride[walk.rank] = from;
      walk.to_stride[walk.rank++] = to;
    }
  }
  return walk;
}

// Takes pairs of neighbours as one element of twice the size, as long as the layout and the addresses allow it: up to
// the 16 bytes that a thread moves at once. Returns the size of an element.
std::size_t widen(Walk& walk, std::size_t size, const void* from, const void* to) {
  const auto even = [](const Index* strides, int count) {
    return std::all_of(strides, strides + count, [](Index stride) { return stride % 2 == 0; });
  };
  const auto addresses = reinterpret_cast<std::uintptr_t>(from) | reinterpret_cast<std::uintptr_t>(to);
  const int last = walk.rank - 1;
  while (size < 16 && last >= 0 && walk.extent[last] % 2 == 0 && walk.from_stride[last] == 1 &&
         walk.to_stride[last] == 1 && even(walk.from_stride, last) && even(walk.to_stride, last) &&
         addresses % (2 * size) == 0) {
    size *= 2;
    walk.count /= 2;
    walk.extent[last] /= 2;
    for (int d = 0; d < last; ++d) {
      walk.from_stride[d] /= 2;
      walk.to_stride[d] /= 2;
    }
  }
  return size;
}

// Elements that are moved without looking at them are these.
template <class F>
void visit_size(std::size_t size, F&& f) {
  switch (size) {
    case 1: return f(Type<std::uint8_t>{});
    case 2: return f(Type<std::uint16_t>{});
    case 4: return f(Type<std::uint32_t>{});
    case 8: return f(Type<std::uint64_t>{});
    case 16: return f(Type<uint4>{});
  }
  throw InternalError(cat("copy: elements of ", size, " bytes"));
}

// A block takes kThreads * kPerThread items of the walk; at each step its threads take neighbours. Writes are coalesced
// where the target has gapless rows, reads where the source has them in the same dimension.
template <class T>
__global__ void copy_elements(const T* from, T* to, Walk walk) {
  const Index first = Index{blockIdx.x} * (kThreads * kPerThread) + threadIdx.x;
  T element[kPerThread];
  Index target[kPerThread];
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const Index item = first + k * kThreads;
    if (item >= walk.count) break;
    const Place place = place_of(walk, item);
    element[k] = from[place.from];
    target[k] = place.to;
  }
#pragma unroll
  for (int k = 0; k < kPerThread; ++k)
    if (first + k * kThreads < walk.count) to[target[k]] = element[k];
}

// As copy_elements, with one value for all.
template <class T>
__global__ void fill_elements(T element, T* to, Walk walk) {
  const Index first = Index{blockIdx.x} * (kThreads * kPerThread) + threadIdx.x;
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const Index item = first + k * kThreads;
    if (item < walk.count) to[place_of(walk, item).to] = element;
  }
}

// A matrix per item of a batch that turns around: `across` runs gapless in the source, `along` in the target.
struct Turn {
  Index across = 0, along = 0;           // extents
  Index from_stride = 0, to_stride = 0;  // of `along` in the source, of `across` in the target
  Index tiles_across = 0, tiles_along = 0;
  Walk batch;  // the other dimensions
};

constexpr int kTile = 32;     // elements along either side
constexpr int kTileRows = 8;  // that a block moves at a time

// Block: one tile, kTile x kTileRows threads. Threads that are neighbours read neighbours in the source and, after the
// tile has turned around in shared memory, write neighbours in the target. Rows of the tile are one element longer than
// they need to be, so that a column lies in as many banks as a row.
template <class T>
__global__ void turn_tiles(const T* from, T* to, Turn turn) {
  SharedMemory shared;
  T* const tile = shared.take<T>(kTile * (kTile + 1));
  const Index place_in_batch = blockIdx.x / turn.tiles_along;
  const Index along = (blockIdx.x % turn.tiles_along) * kTile;
  const Index across = place_in_batch % turn.tiles_across * kTile;
  const Place place = place_of(turn.batch, place_in_batch / turn.tiles_across);
  const int x = static_cast<int>(threadIdx.x), first_row = static_cast<int>(threadIdx.y);
  for (int row = first_row; row < kTile && along + row < turn.along; row += kTileRows)
    if (across + x < turn.across)
      tile[row * (kTile + 1) + x] = from[place.from + (along + row) * turn.from_stride + across + x];
  __syncthreads();
  for (int row = first_row; row < kTile && across + row < turn.across; row += kTileRows)
    if (along + x < turn.along)
      to[place.to + (across + row) * turn.to_stride + along + x] = tile[x * (kTile + 1) + row];
}

// Is the source gapless in another dimension than the target, and are both long enough for tiles?
bool turns(const Walk& walk, Turn& turn) {
  constexpr Index kShortest = 8;
  const int last = walk.rank - 1;
  if (last < 1 || walk.to_stride[last] != 1 || walk.extent[last] < kShortest) return false;
  for (int d = 0; d < last; ++d) {
    if (walk.from_stride[d] != 1 || walk.extent[d] < kShortest) continue;
    turn.across = walk.extent[d];
    turn.along = walk.extent[last];
    turn.from_stride = walk.from_stride[last];
    turn.to_stride = walk.to_stride[d];
    turn.tiles_across = (turn.across + kTile - 1) / kTile;
    turn.tiles_along = (turn.along + kTile - 1) / kTile;
    turn.batch.count = walk.count / (turn.across * turn.along);
    for (int other = 0; other < last; ++other) {
      if (other == d) continue;
      turn.batch.extent[turn.batch.rank] = walk.extent[other];
      turn.batch.from_stride[turn.batch.rank] = walk.from_stride[other];
      turn.batch.to_stride[turn.batch.rank++] = walk.to_stride[other];
    }
    return true;
  }
  return false;
}

template <class To, class From>
__device__ To convert_at(const void* from, Index i) {
  if constexpr (!kIsComplex<From> || kIsComplex<To>)
    return convert<To>(static_cast<const From*>(from)[i]);
  else
    return To{};  // refused at the door
}

template <class To>
__device__ To read_as(const void* from, DType dtype, Index i) {
  switch (dtype) {
    case kFloat32: return convert_at<To, float>(from, i);
    case kFloat64: return convert_at<To, double>(from, i);
    case kBFloat16: return convert_at<To, BFloat16>(from, i);
    case kInt32: return convert_at<To, std::int32_t>(from, i);
    case kInt64: return convert_at<To, std::int64_t>(from, i);
    case kUInt8: return convert_at<To, std::uint8_t>(from, i);
    case kBool: return convert_at<To, bool>(from, i);
    case kComplex64: return convert_at<To, std::complex<float>>(from, i);
    case kComplex128: return convert_at<To, std::complex<double>>(from, i);
  }
  return To{};
}

// As copy_elements, one dtype into another. The source's dtype is the same for all threads: one kernel per target dtype
// is enough.
template <class To>
__global__ void convert_elements(const void* from, DType dtype, To* to, Walk walk) {
  const Index first = Index{blockIdx.x} * (kThreads * kPerThread) + threadIdx.x;
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const Index item = first + k * kThreads;
    if (item >= walk.count) break;
    const Place place = place_of(walk, item);
    to[place.to] = read_as<To>(from, dtype, place.from);
  }
}

dim3 grid_for(const char* op, const Walk& walk) {
  return dim3(blocks_for(op, walk.count, kThreads * kPerThread));
}

std::size_t bytes_of(const Tensor& t) {
  return static_cast<std::size_t>(t.size()) * dtype_bytes(t.dtype());
}

}  // namespace

void copy(const Tensor& from, Tensor& to) {
  if (to.size() == 0) return;
  Walk walk = walk_of(to.shape(), from.strides(), to.strides());
  Turn turn;
  if (from.dtype() != to.dtype()) {
    visit_any(to.dtype(), [&]<class To>(Type<To>) {
      launch(convert_elements<To>, grid_for("copy", walk), dim3(kThreads), 0, current_stream(), from.bytes(),
             from.dtype(), to.data<To>(), walk);
    });
  } else if (from.is_contiguous() && to.is_contiguous()) {
    check(cudaMemcpyAsync(to.bytes(), from.bytes(), bytes_of(to), cudaMemcpyDeviceToDevice, current_stream()),
          "cudaMemcpyAsync");
  } else if (turns(walk, turn)) {
    const Index tiles = turn.batch.count * turn.tiles_across * turn.tiles_along;
    visit_size(dtype_bytes(to.dtype()), [&]<class T>(Type<T>) {
      launch(turn_tiles<T>, dim3(blocks_for("copy", tiles, 1)), dim3(kTile, kTileRows),
             shared_size<T>(kTile * (kTile + 1)), current_stream(), reinterpret_cast<const T*>(from.bytes()),
             reinterpret_cast<T*>(to.bytes()), turn);
    });
  } else {
    visit_size(widen(walk, dtype_bytes(to.dtype()), from.bytes(), to.bytes()), [&]<class T>(Type<T>) {
      launch(copy_elements<T>, grid_for("copy", walk), dim3(kThreads), 0, current_stream(),
             reinterpret_cast<const T*>(from.bytes()), reinterpret_cast<T*>(to.bytes()), walk);
    });
  }
}

void fill(Tensor& out, double value) {
  if (out.size() == 0) return;
  std::array<std::byte, 16> pattern = {};  // the element, repeated
  const std::size_t size = dtype_bytes(out.dtype());
  visit_any(out.dtype(), [&]<class T>(Type<T>) {
    const T element = convert<T>(value);
    for (std::size_t at = 0; at < pattern.size(); at += size) std::memcpy(pattern.data() + at, &element, size);
  });
  const bool one_byte = std::all_of(pattern.begin(), pattern.end(), [&](std::byte b) { return b == pattern[0]; });
  if (one_byte && out.is_contiguous()) {
    check(cudaMemsetAsync(out.bytes(), static_cast<int>(pattern[0]), bytes_of(out), current_stream()),
          "cudaMemsetAsync");
    return;
  }
  Walk walk = walk_of(out.shape(), out.strides(), out.strides());
  visit_size(widen(walk, size, out.bytes(), out.bytes()), [&]<class T>(Type<T>) {
    T element;
    std::memcpy(&element, pattern.data(), sizeof(T));
    launch(fill_elements<T>, grid_for("fill", walk), dim3(kThreads), 0, current_stream(), element,
           reinterpret_cast<T*>(out.bytes()), walk);
  });
}

}  // namespace subquad::cuda
