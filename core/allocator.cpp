#include "subquad/core/allocator.h"

#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else  // blocks that wait in the cache are out of bounds for AddressSanitizer; without it these do nothing
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace subquad {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Size classes: eight per doubling, so that at most an eighth of a block is unused.
std::size_t class_bytes(std::size_t bytes) {
  if (bytes <= 8 * kAlignment) return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

class CpuCache {
 public:
  void* allocate(std::size_t bytes) {
    const std::size_t rounded = class_bytes(bytes);
    const std::lock_guard lock(mutex_);
    void* block = nullptr;
    if (auto& bin = bins_[rounded]; !bin.empty()) {
      block = bin.back();
      bin.pop_back();
      ASAN_UNPOISON_MEMORY_REGION(block, rounded);
    } else {
      block = from_system(bytes, rounded);
    }
    ++stats_.allocations;
    stats_.current_bytes += bytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.current_bytes);
    return block;
  }

  void deallocate(void* block, std::size_t bytes) noexcept {
    const std::size_t rounded = class_bytes(bytes);
    const std::lock_guard lock(mutex_);
    stats_.current_bytes -= bytes;
    try {
      bins_[rounded].push_back(block);
      ASAN_POISON_MEMORY_REGION(block, rounded);
    } catch (const std::bad_alloc&) {  // no room to remember the block: give it back
      std::free(block);
      stats_.reserved_bytes -= rounded;
    }
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
  void* from_system(std::size_t bytes, std::size_t rounded) {
    const std::size_t alignment = rounded >= kHugePage ? kHugePage : kAlignment;
    void* block = nullptr;
    if (posix_memalign(&block, alignment, rounded) != 0) {
      release_locked();
      if (posix_memalign(&block, alignment, rounded) != 0)
        throw Error(cat("allocate: out of memory on cpu: asked for ", bytes, " bytes, in use ", stats_.current_bytes,
                        ", peak ", stats_.peak_bytes));
    }
    if (rounded >= kHugePage) madvise(block, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);  // a wish: may be refused
    stats_.reserved_bytes += rounded;
    ++stats_.system_allocations;
    return block;
  }

  void release_locked() {
    for (auto& [rounded, blocks] : bins_) {
      for (void* block : blocks) {
        ASAN_UNPOISON_MEMORY_REGION(block, rounded);
        std::free(block);
        stats_.reserved_bytes -= rounded;
      }
      blocks.clear();
    }
  }

  std::mutex mutex_;
  std::unordered_map<std::size_t, std::vector<void*>> bins_;
  MemoryStats stats_;
};

// Never destroyed: tensors with static storage duration may die after it would have.
CpuCache& cpu_cache() {
  static CpuCache& cache = *new CpuCache;
  return cache;
}

CpuCache& cache_of(Device device) {
  if (!device.is_cpu()) throw DeviceError(cat("allocate: no allocator for device ", device));
  return cpu_cache();
}

}  // namespace

MemoryStats memory_stats(Device device) {
  return cache_of(device).stats();
}

void reset_peak_memory(Device device) {
  cache_of(device).reset_peak();
}

void release_cached_memory(Device device) {
  cache_of(device).release();
}

void* allocate(std::size_t bytes, Device device) {
  return bytes == 0 ? nullptr : cache_of(device).allocate(bytes);
}

void deallocate(void* block, std::size_t bytes, Device device) noexcept {
  if (block != nullptr) cache_of(device).deallocate(block, bytes);
}

}  // namespace subquad
