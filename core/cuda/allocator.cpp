#include "subquad/core/cuda/allocator.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "subquad/core/cuda/error.h"
#include "subquad/core/cuda/range.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/free_blocks.h"

namespace subquad::cuda {
namespace {

constexpr std::size_t kGrain = 512;  // bytes: the smallest block

bool cache_wanted() {
  const char* const text = std::getenv("SUBQUAD_CUDA_CACHE");
  const std::string_view wanted = text == nullptr ? "on" : text;
  if (wanted != "on" && wanted != "off") throw Error(cat("SUBQUAD_CUDA_CACHE is \"", wanted, "\", expected on or off"));
  return wanted == "on";
}

// While a graph is recorded CUDA refuses calls that could upset it. Taking memory does not, and must be possible.
class AllowedWhileRecording {
 public:
  AllowedWhileRecording() { exchange(); }
  ~AllowedWhileRecording() { exchange(); }

 private:
  void exchange() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace

struct GraphMemory::Blocks {
  FreeBlocks free{false};
  bool abandoned = false;  // the graph is gone
};

class DeviceCache {
 public:
  using GraphBlocks = std::shared_ptr<GraphMemory::Blocks>;

  void* allocate(std::size_t bytes, const char* op) {
    const std::lock_guard lock(mutex_);
    const std::size_t rounded = cached_ ? class_bytes(bytes, kGrain) : bytes;  // as asked for: the end is in sight
    FreeBlock block;
    if (open_ != nullptr) block = open_->free.take(rounded);
    if (block.address == nullptr) block = free_.take(rounded);
    if (block.address == nullptr) block = from_driver(rounded, bytes, op);
    taken_.at(block.address).owner = open_;
    ++stats_.allocations;
    stats_.current_bytes += bytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.current_bytes);
    return block.address;
  }

  void deallocate(void* address, std::size_t bytes, Device device) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.current_bytes -= bytes;
    const Taken& taken = taken_.at(address);
    const bool of_graph = taken.owner != nullptr && !taken.owner->abandoned;
    try {
      (of_graph ? taken.owner->free : free_).put({address, taken.bytes});
      if (!cached_ && open_ == nullptr && !recording()) give_back(device);
    } catch (const std::bad_alloc&) {  // no room to remember the block: it stays taken
    } catch (const Error&) {           // the device has failed: whatever is asked of it next says so
    }
  }

  void open(const GraphBlocks& blocks) {
    const std::lock_guard lock(mutex_);
    open_ = blocks;
  }

  void close(const GraphBlocks& blocks) noexcept {
    const std::lock_guard lock(mutex_);
    if (open_ == blocks) open_ = nullptr;
  }

  void abandon(GraphMemory::Blocks& blocks) {
    const std::lock_guard lock(mutex_);
    blocks.abandoned = true;
    blocks.free.drain([this](FreeBlock block) { free_.put(block); });
  }

  void release() {
    const std::lock_guard lock(mutex_);
    release_locked();
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.current_bytes;
  }

 private:
  struct Taken {
    std::size_t bytes = 0;
    GraphBlocks owner;  // null: the cache
  };

  FreeBlock from_driver(std::size_t rounded, std::size_t bytes, const char* op) {
    void* address = ask_driver(rounded);
    if (address == nullptr && open_ == nullptr) {  // giving back waits for the device, which a recording cannot
      release_locked();
      address = ask_driver(rounded);
    }
    if (address == nullptr) {
      const char* const running = current_op();
      throw Error(cat(*running != '\0' ? running : op, ": out of memory on cuda:", current_device(), ": asked for ",
                      bytes, " bytes, in use ", stats_.current_bytes, ", peak ", stats_.peak_bytes));
    }
    taken_.emplace(address, Taken{rounded, nullptr});
    stats_.reserved_bytes += rounded;
    ++stats_.system_allocations;
    return {address, rounded};
  }

  static void* ask_driver(std::size_t bytes) {  // nullptr when it has no more
    const AllowedWhileRecording allowed;
    void* address = nullptr;
    const cudaError_t status = cudaMalloc(&address, bytes);
    if (status != cudaErrorMemoryAllocation) {
      check(status, "cudaMalloc");
      return address;
    }
    cudaGetLastError();  // has been looked at
    return nullptr;
  }

  void release_locked() {
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // free blocks may still be in use by what was launched
    free_.drain([this](FreeBlock block) {
      taken_.erase(block.address);
      stats_.reserved_bytes -= block.bytes;
      check(cudaFree(block.address), "cudaFree");
    });
  }

  void give_back(Device device) {  // of this cache: another one may be the current device
    const int current = current_device();
    activate(device);
    release_locked();
    activate({DeviceType::cuda, current});
  }

  const bool cached_ = cache_wanted();
  std::mutex mutex_;
  FreeBlocks free_{false};
  std::unordered_map<void*, Taken> taken_;  // every block taken from the driver, free ones too
  GraphBlocks open_;                        // of the graph that is being recorded
  MemoryStats stats_;
};

namespace {

// Never destroyed: tensors with static storage duration may die after it would have.
DeviceCache& cache_of(int ordinal) {
  static std::mutex mutex;
  static std::map<int, DeviceCache>& caches = *new std::map<int, DeviceCache>;
  const std::lock_guard lock(mutex);
  return caches[ordinal];
}

}  // namespace

void* allocate(std::size_t bytes, const char* op) {
  return cache_of(current_device()).allocate(bytes, op);
}

MemoryStats memory_stats() {
  return cache_of(current_device()).stats();
}

void reset_peak_memory() {
  cache_of(current_device()).reset_peak();
}

void release_cached_memory() {
  if (recording()) throw Error("release_cached_memory: a graph is being recorded");
  cache_of(current_device()).release();
}

void deallocate(void* block, std::size_t bytes, Device device) noexcept {
  cache_of(device.ordinal).deallocate(block, bytes, device);
}

GraphMemory::GraphMemory(Device device) : device_(device), blocks_(std::make_shared<Blocks>()) {}

GraphMemory::~GraphMemory() {
  close();
  cache_of(device_.ordinal).abandon(*blocks_);
}

void GraphMemory::open() {
  cache_of(device_.ordinal).open(blocks_);
}

void GraphMemory::close() {
  cache_of(device_.ordinal).close(blocks_);
}

}  // namespace subquad::cuda
