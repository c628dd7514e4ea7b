#include "subquad/core/cuda/staging.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "subquad/core/cuda/error.h"
#include "subquad/core/cuda/event.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/free_blocks.h"

namespace subquad::cuda {
namespace {

constexpr std::size_t kPinnedGrain = 256;  // bytes

// Page-locked memory through which all uploads to one device go, used in a circle: positions count the bytes that were
// ever handed out, and what an upload used is free again when its event has happened. Larger uploads go in pieces.
class StagingRing {
 public:
  StagingRing() : memory_(static_cast<std::byte*>(allocate_pinned(kBytes))) {}

  void upload(const std::byte* from, std::byte* to, std::size_t bytes, cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    for (std::size_t done = 0; done < bytes;) {
      const std::size_t piece = std::min(bytes - done, kLargestPiece);
      std::byte* const staged = memory_ + take(piece) % kBytes;
      std::memcpy(staged, from + done, piece);
      check(cudaMemcpyAsync(to + done, staged, piece, cudaMemcpyHostToDevice, stream), "cudaMemcpyAsync");
      in_flight_.push_back({next_, unused_event()});
      in_flight_.back().copied->record(stream);
      done += piece;
    }
  }

 private:
  static constexpr std::size_t kBytes = std::size_t{32} << 20;
  static constexpr std::size_t kLargestPiece = kBytes / 4;

  struct InFlight {
    std::size_t end;  // position up to which memory is free once it has been copied
    std::unique_ptr<Event> copied;
  };

  // Position of `bytes` bytes that lie together; waits for earlier uploads where they are in the way.
  std::size_t take(std::size_t bytes) {
    const std::size_t padded = (bytes + kPinnedGrain - 1) / kPinnedGrain * kPinnedGrain;
    if (next_ % kBytes + padded > kBytes) next_ = (next_ / kBytes + 1) * kBytes;  // not around the end
    const std::size_t begin = next_;
    next_ += padded;
    while (next_ > free_until_ + kBytes) {
      if (in_flight_.empty()) {
        free_until_ = begin;
        break;
      }
      in_flight_.front().copied->wait();
      free_until_ = in_flight_.front().end;
      unused_.push_back(std::move(in_flight_.front().copied));
      in_flight_.pop_front();
    }
    return begin;
  }

  std::unique_ptr<Event> unused_event() {
    if (unused_.empty()) return std::make_unique<Event>();
    std::unique_ptr<Event> event = std::move(unused_.back());
    unused_.pop_back();
    return event;
  }

  std::mutex mutex_;
  std::byte* memory_;
  std::size_t next_ = 0, free_until_ = 0;  // positions
  std::deque<InFlight> in_flight_;         // oldest first
  std::vector<std::unique_ptr<Event>> unused_;
};

// Like all that belongs to a device, never destroyed.
StagingRing& ring_of(int ordinal) {
  static std::mutex mutex;
  static std::map<int, StagingRing>& rings = *new std::map<int, StagingRing>;
  const std::lock_guard lock(mutex);
  return rings[ordinal];
}

struct PinnedCache {
  std::mutex mutex;
  FreeBlocks free;
  std::unordered_map<void*, std::size_t> bytes_of;
};

PinnedCache& pinned_cache() {
  static PinnedCache& cache = *new PinnedCache;
  return cache;
}

}  // namespace

void upload(const void* from, void* to, std::size_t bytes) {
  upload(from, to, bytes, current_stream());
}

void upload(const void* from, void* to, std::size_t bytes, CUstream_st* stream) {
  if (recording())
    throw Error(cat("copy: from cpu to cuda:", current_device(),
                    " while a graph is recorded: every replay would bring the same values; copy before it"));
  ring_of(current_device()).upload(static_cast<const std::byte*>(from), static_cast<std::byte*>(to), bytes, stream);
}

void download(const void* from, void* to, std::size_t bytes) {
  refuse_while_recording("copy to the CPU");
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, current_stream()), "cudaMemcpyAsync");
  wait("copy to the CPU");
}

void* allocate_pinned(std::size_t bytes) {
  PinnedCache& cache = pinned_cache();
  const std::lock_guard lock(cache.mutex);
  const std::size_t rounded = class_bytes(std::max<std::size_t>(bytes, 1), kPinnedGrain);
  if (const FreeBlock block = cache.free.take(rounded); block.address != nullptr) return block.address;
  void* address = nullptr;
  check(cudaHostAlloc(&address, rounded, cudaHostAllocPortable), "cudaHostAlloc");
  cache.bytes_of.emplace(address, rounded);
  return address;
}

void free_pinned(void* block) noexcept {
  PinnedCache& cache = pinned_cache();
  const std::lock_guard lock(cache.mutex);
  try {
    cache.free.put({block, cache.bytes_of.at(block)});
  } catch (const std::bad_alloc&) {  // no room to remember the block: it stays taken
  }
}

}  // namespace subquad::cuda
