// Barriers, shuffles and votes. Every one is a rendezvous of the threads concerned, and says so when they do not meet.
#pragma once

#include <bit>
#include <concepts>
#include <type_traits>

#include <simt/block.h>
#include <simt/index.h>

inline void __syncthreads(simt::Place where = {}) {
  simt::meet_block("__syncthreads", false, where);
}
inline int __syncthreads_count(int predicate, simt::Place where = {}) {
  return simt::meet_block("__syncthreads_count", predicate != 0, where);
}
inline int __syncthreads_or(int predicate, simt::Place where = {}) {
  return simt::meet_block("__syncthreads_or", predicate != 0, where) != 0;
}
inline int __syncthreads_and(int predicate, simt::Place where = {}) {
  return simt::meet_block("__syncthreads_and", predicate == 0, where) == 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, simt::Place where = {}) {
  simt::meet_warp(mask, "__syncwarp", where);
}

// Nothing promises that lanes run together, so the lane that asks is the only active one.
inline unsigned __activemask() {
  return 1u << simt::lane_index;
}

namespace simt {

struct Vote {
  bool predicate;
  unsigned ballot = 0;
};
inline unsigned vote(const char* name, unsigned mask, bool predicate, Place where) {
  Vote mine{predicate};
  meet_warp(mask, name, where, &mine, [](void* const* votes, unsigned voters) {
    unsigned ballot = 0;
    for (unsigned left = voters; left != 0; left &= left - 1) {
      const int lane = std::countr_zero(left);
      if (static_cast<const Vote*>(votes[lane])->predicate) ballot |= 1u << lane;
    }
    for (unsigned left = voters; left != 0; left &= left - 1)
      static_cast<Vote*>(votes[std::countr_zero(left)])->ballot = ballot;
  });
  return mine.ballot;
}

// What CUDA shuffles. (Smaller types are promoted by the caller there; here they do not compile.)
template <class T>
concept Shuffled = std::is_arithmetic_v<T> &&(sizeof(T) == 4 || sizeof(T) == 8);

template <class T>
struct Shuffle {
  T value;
  int from;  // lane
  const char* name;
  T result = {};
};
[[noreturn]] void fail_shuffle(const char* name, int lane, int from, unsigned mask);

template <Shuffled T>
T shuffle(const char* name, unsigned mask, T value, int from, Place where) {
  Shuffle<T> mine{value, from, name};
  meet_warp(mask, name, where, &mine, [](void* const* shuffles, unsigned lanes) {
    for (unsigned left = lanes; left != 0; left &= left - 1) {
      const int lane = std::countr_zero(left);
      auto* const to = static_cast<Shuffle<T>*>(shuffles[lane]);
      if ((lanes >> to->from & 1u) == 0) fail_shuffle(to->name, lane, to->from, lanes);
      to->result = static_cast<const Shuffle<T>*>(shuffles[to->from])->value;
    }
  });
  return mine.result;
}

[[noreturn]] void fail_width(const char* name, int width);
inline void check_width(const char* name, int width) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) fail_width(name, width);
}

inline int segment(int width) {  // first lane of the running lane's segment
  return lane_index & ~(width - 1);
}

}  // namespace simt

inline unsigned __ballot_sync(unsigned mask, int predicate, simt::Place where = {}) {
  return simt::vote("__ballot_sync", mask, predicate != 0, where);
}
inline int __any_sync(unsigned mask, int predicate, simt::Place where = {}) {
  return simt::vote("__any_sync", mask, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, simt::Place where = {}) {
  return simt::vote("__all_sync", mask, predicate != 0, where) == mask;
}

template <simt::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, simt::Place where = {}) {
  simt::check_width("__shfl_sync", width);
  return simt::shuffle("__shfl_sync", mask, value, simt::segment(width) + (source & (width - 1)), where);
}
// A lane whose source lies outside of its segment keeps its own value.
template <simt::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, simt::Place where = {}) {
  simt::check_width("__shfl_up_sync", width);
  const int from = simt::lane_index - static_cast<int>(delta);
  return simt::shuffle("__shfl_up_sync", mask, value, from < simt::segment(width) ? simt::lane_index : from, where);
}
template <simt::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, simt::Place where = {}) {
  simt::check_width("__shfl_down_sync", width);
  const int from = simt::lane_index + static_cast<int>(delta);
  return simt::shuffle("__shfl_down_sync", mask, value, from >= simt::segment(width) + width ? simt::lane_index : from,
                       where);
}
// Here a lane may also read from the segments before its own.
template <simt::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize, simt::Place where = {}) {
  simt::check_width("__shfl_xor_sync", width);
  const int from = simt::lane_index ^ (bits & 31);
  return simt::shuffle("__shfl_xor_sync", mask, value, from >= simt::segment(width) + width ? simt::lane_index : from,
                       where);
}
