#include "subquad/core/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else  // blocks that wait in the cache are out of bounds for AddressSanitizer; without it these do nothing
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace subquad {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Size classes: eight per doubling, so that at most an eighth of a new block is unused.
std::size_t class_bytes(std::size_t bytes) {
  if (bytes <= 8 * kAlignment) return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

// Free blocks wait in a map from size to block. A request takes the smallest that fits, unless that is more than
// kLooseFit times too large. Batches of varying length would otherwise leave a set of blocks behind for every length;
// so would growing ones, which is why the cache is emptied before it makes the process larger than kSlack times what
// live tensors ever needed.
class CpuCache {
 public:
  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    void* block = take_free(class_bytes(bytes));
    if (block == nullptr) block = from_system(bytes);
    ++stats_.allocations;
    stats_.current_bytes += bytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.current_bytes);
    most_ever_ = std::max(most_ever_, stats_.current_bytes);
    return block;
  }

  void deallocate(void* block, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.current_bytes -= bytes;
    const std::size_t capacity = capacity_.at(block);
    try {
      free_.emplace(capacity, block);
      ASAN_POISON_MEMORY_REGION(block, capacity);
    } catch (const std::bad_alloc&) {  // no room to remember the block
      to_system(block, capacity);
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
  static constexpr std::size_t kLooseFit = 2;
  static constexpr std::size_t kSlack = 2;
  static constexpr std::size_t kAlwaysKept = std::size_t{64} << 20;  // bytes: below this the cache is never emptied

  void* take_free(std::size_t rounded) {
    const auto it = free_.lower_bound(rounded);
    if (it == free_.end() || it->first > kLooseFit * rounded) return nullptr;
    void* const block = it->second;
    ASAN_UNPOISON_MEMORY_REGION(block, it->first);
    free_.erase(it);
    return block;
  }

  void* from_system(std::size_t bytes) {
    const std::size_t rounded = class_bytes(bytes);
    const std::size_t needed = std::max(most_ever_, stats_.current_bytes + bytes);
    if (stats_.reserved_bytes + rounded > kSlack * needed + kAlwaysKept) release_locked();
    const std::size_t alignment = rounded >= kHugePage ? kHugePage : kAlignment;
    void* block = nullptr;
    if (posix_memalign(&block, alignment, rounded) != 0) {
      release_locked();
      if (posix_memalign(&block, alignment, rounded) != 0)
        throw Error(cat("allocate: out of memory on cpu: asked for ", bytes, " bytes, in use ", stats_.current_bytes,
                        ", peak ", stats_.peak_bytes));
    }
    if (rounded >= kHugePage) madvise(block, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);  // a wish: may be refused
    capacity_.emplace(block, rounded);
    stats_.reserved_bytes += rounded;
    ++stats_.system_allocations;
    return block;
  }

  void to_system(void* block, std::size_t capacity) noexcept {
    ASAN_UNPOISON_MEMORY_REGION(block, capacity);
    capacity_.erase(block);
    std::free(block);
    stats_.reserved_bytes -= capacity;
  }

  void release_locked() {
    for (const auto& [capacity, block] : free_) to_system(block, capacity);
    free_.clear();
  }

  std::mutex mutex_;
  std::multimap<std::size_t, void*> free_;           // size to block
  std::unordered_map<void*, std::size_t> capacity_;  // of every block taken from the system
  std::size_t most_ever_ = 0;                        // largest current_bytes there ever was
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
