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

// Page-locking is slow, so freed blocks are kept and handed out again. Whoever frees one has waited for the device to
// be done with it.
class PinnedCache {
 public:
  std::byte* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const std::size_t rounded = class_bytes(std::max<std::size_t>(bytes, 1), kPinnedGrain);
    void* address = free_.take(rounded).address;
    if (address == nullptr) {
      check(cudaHostAlloc(&address, rounded, cudaHostAllocPortable), "cudaHostAlloc");
      bytes_of_.emplace(address, rounded);
    }
    return static_cast<std::byte*>(address);
  }

  void free(void* block) {
    const std::lock_guard lock(mutex_);
    free_.put({block, bytes_of_.at(block)});
  }

 private:
  std::mutex mutex_;
  FreeBlocks free_;
  std::unordered_map<void*, std::size_t> bytes_of_;
};

PinnedCache& pinned_cache() {
  static PinnedCache& cache = *new PinnedCache;
  return cache;
}

// Page-locked memory through which all uploads to one device go, used in a circle: positions count the bytes that were
// ever handed out, and what an upload used is free again when its event has happened. Larger uploads go in pieces.
class StagingRing {
 public:
  StagingRing() : memory_(pinned_cache().allocate(kBytes)) {}

  void upload(const std::byte* from, std::byte* to, std::size_t bytes, cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    while (!in_flight_.empty() && in_flight_.front().copied->happened()) retire_oldest();
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
      retire_oldest();
    }
    return begin;
  }

  // The oldest upload has been copied: its memory is free, and its event serves again.
  void retire_oldest() {
    free_until_ = in_flight_.front().end;
    unused_.push_back(std::move(in_flight_.front().copied));
    in_flight_.pop_front();
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

Download start_download(const void* from, std::size_t bytes) {
  refuse_while_recording("Readback");
  const auto arrived = std::make_shared<Event>();
  std::shared_ptr<std::byte> memory(pinned_cache().allocate(bytes), [arrived](std::byte* block) noexcept {
    try {
      arrived->wait();
      pinned_cache().free(block);
    } catch (const std::exception&) {  // the device has failed: nobody knows when the block will be free
    }
  });
  check(cudaMemcpyAsync(memory.get(), from, bytes, cudaMemcpyDeviceToHost, current_stream()), "cudaMemcpyAsync");
  arrived->record(current_stream());
  return {memory, arrived};
}

}  // namespace subquad::cuda
