#include "subquad/core/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <unordered_map>

#include "subquad/core/cuda/allocator.h"
#include "subquad/core/free_blocks.h"

namespace subquad {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Besides what FreeBlocks does against it, batches of growing length would leave a set of blocks behind for every
// length, which is why the cache is emptied before it makes the process larger than kSlack times what live tensors ever
// needed.
class CpuCache {
 public:
  void* allocate(std::size_t bytes, const char* op) {
    const std::lock_guard lock(mutex_);
    void* block = free_.take(class_bytes(bytes, kAlignment)).address;
    if (block == nullptr) block = from_system(bytes, op);
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
      free_.put({block, capacity});
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
  static constexpr std::size_t kSlack = 2;
  static constexpr std::size_t kAlwaysKept = std::size_t{64} << 20;  // bytes: below this the cache is never emptied

  void* from_system(std::size_t bytes, const char* op) {
    const std::size_t rounded = class_bytes(bytes, kAlignment);
    const std::size_t needed = std::max(most_ever_, stats_.current_bytes + bytes);
    if (stats_.reserved_bytes + rounded > kSlack * needed + kAlwaysKept) release_locked();
    const std::size_t alignment = rounded >= kHugePage ? kHugePage : kAlignment;
    void* block = nullptr;
    if (posix_memalign(&block, alignment, rounded) != 0) {
      release_locked();
      if (posix_memalign(&block, alignment, rounded) != 0)
        throw Error(cat(op, ": out of memory on cpu: asked for ", bytes, " bytes, in use ", stats_.current_bytes,
                        ", peak ", stats_.peak_bytes));
    }
    if (rounded >= kHugePage) madvise(block, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);  // a wish: may be refused
    capacity_.emplace(block, rounded);
    stats_.reserved_bytes += rounded;
    ++stats_.system_allocations;
    return block;
  }

  void to_system(void* block, std::size_t capacity) noexcept {
    capacity_.erase(block);
    std::free(block);
    stats_.reserved_bytes -= capacity;
  }

  void release_locked() {
    free_.drain([this](FreeBlock block) { to_system(block.address, block.bytes); });
  }

  std::mutex mutex_;
  FreeBlocks free_;
  std::unordered_map<void*, std::size_t> capacity_;  // of every block taken from the system
  std::size_t most_ever_ = 0;                        // largest current_bytes there ever was
  MemoryStats stats_;
};

// Never destroyed: tensors with static storage duration may die after it would have.
CpuCache& cpu_cache() {
  static CpuCache& cache = *new CpuCache;
  return cache;
}

}  // namespace

MemoryStats memory_stats(Device device) {
  return on_device(
      device, [](auto) { return cpu_cache().stats(); }, [](auto) { return cuda::memory_stats(); }, nullptr);
}

void reset_peak_memory(Device device) {
  on_device(
      device, [](auto) { cpu_cache().reset_peak(); }, [](auto) { cuda::reset_peak_memory(); }, nullptr);
}

void release_cached_memory(Device device) {
  on_device(
      device, [](auto) { cpu_cache().release(); }, [](auto) { cuda::release_cached_memory(); }, nullptr);
}

void* allocate(std::size_t bytes, Device device, const char* op) {
  if (bytes == 0) return nullptr;
  return on_device(
      device, [&](auto) { return cpu_cache().allocate(bytes, op); }, [&](auto) { return cuda::allocate(bytes, op); },
      nullptr);
}

// A tensor may die while another device works: that one stays activated.
void deallocate(void* block, std::size_t bytes, Device device) noexcept {
  if (block == nullptr) return;
#ifdef SUBQUAD_CUDA
  if (!device.is_cpu()) return cuda::deallocate(block, bytes, device);
#else
  (void)device;
#endif
  cpu_cache().deallocate(block, bytes);
}

}  // namespace subquad
