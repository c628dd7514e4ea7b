// Memory of the devices and page-locked memory. All device memory lies in one range of addresses that the CPU can only
// touch while work runs, so that code which reads a device pointer on the host crashes here as it would on a machine
// with a GPU. Each block has pages of its own, full of 0xFF (NaN as float) when handed out; what surrounds it is out of
// bounds for AddressSanitizer.
#include <simt/machine.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>

#include "subquad/core/free_blocks.h"
#include "subquad/tests/simt/host_queue.h"

namespace simt {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2}
                                  << 20;  // opening and closing many small pages would take most of the time
constexpr std::size_t kReach = std::size_t{64} << 30;  // bytes of addresses; memory is only behind what is in use

std::size_t pages(std::size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}
std::size_t huge_pages(std::size_t bytes) {
  return (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

class DeviceMemory {
 public:
  DeviceMemory() {
    void* const range =
        mmap(nullptr, kReach + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) throw std::bad_alloc();
    base_ = reinterpret_cast<std::byte*>(huge_pages(reinterpret_cast<std::uintptr_t>(range)));
    madvise(base_, kReach, MADV_HUGEPAGE);  // a wish: may be refused
  }

  // nullptr when the machine has no more.
  std::byte* allocate(std::size_t bytes) {
    if (bytes > machine().memory_bytes || in_use_ + bytes > machine().memory_bytes) return nullptr;
    const std::size_t length = pages(bytes);
    std::size_t offset = kPage;  // one page of nothing before and after each block
    for (const auto& [begin, size] : blocks_) {
      if (offset + length + kPage <= begin) break;
      offset = begin + pages(size) + kPage;
    }
    if (offset + length + kPage > kReach) return nullptr;
    blocks_.emplace(offset, bytes);
    in_use_ += bytes;
    top_ = std::max(top_, huge_pages(offset + length + kPage));
    const DeviceMemoryOpen open;
    ASAN_POISON_MEMORY_REGION(base_ + offset - kPage, length + 2 * kPage);
    ASAN_UNPOISON_MEMORY_REGION(base_ + offset, bytes);
    std::memset(base_ + offset, 0xff, bytes);
    return base_ + offset;
  }

  bool free(const void* address) {
    const auto block = blocks_.find(static_cast<std::size_t>(static_cast<const std::byte*>(address) - base_));
    if (block == blocks_.end()) return false;
    ASAN_POISON_MEMORY_REGION(base_ + block->first, block->second);
    madvise(base_ + block->first, pages(block->second), MADV_DONTNEED);
    in_use_ -= block->second;
    blocks_.erase(block);
    return true;
  }

  bool owns(const void* address) const { return address >= base_ && address < base_ + kReach; }

  bool holds(const void* address, std::size_t bytes) const {  // inside one block
    if (!owns(address)) return false;
    const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(address) - base_);
    const auto next = blocks_.upper_bound(offset);
    if (next == blocks_.begin()) return false;
    const auto& [begin, size] = *std::prev(next);
    return offset + bytes <= begin + size;
  }

  void open() {
    if (openers_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    if (--openers_ == 0 && machine().protect) protect(PROT_NONE);
  }

 private:
  void protect(int access) {
    if (mprotect(base_, top_, access) != 0) throw std::bad_alloc();
  }

  std::byte* base_ = nullptr;
  std::size_t top_ = kHugePage;  // beyond it nothing was ever in use
  std::size_t in_use_ = 0;
  int openers_ = 0;
  std::map<std::size_t, std::size_t> blocks_;  // offset to size
};

DeviceMemory& device_memory() {
  static DeviceMemory& memory = *new DeviceMemory;
  return memory;
}

std::map<const std::byte*, std::size_t>& pinned() {
  static auto& blocks = *new std::map<const std::byte*, std::size_t>;
  return blocks;
}

bool is_pinned(const void* address, std::size_t bytes) {
  const auto next = pinned().upper_bound(static_cast<const std::byte*>(address));
  if (next == pinned().begin()) return false;
  const auto& [begin, size] = *std::prev(next);
  return static_cast<const std::byte*>(address) + bytes <= begin + size;
}

bool fits(const void* address, std::size_t bytes, bool on_device) {
  return on_device ? device_memory().holds(address, bytes) : !device_memory().owns(address);
}

}  // namespace

DeviceMemoryOpen::DeviceMemoryOpen() {
  device_memory().open();
}
DeviceMemoryOpen::~DeviceMemoryOpen() {
  device_memory().close();
}

}  // namespace simt

using simt::failed;

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  *address = nullptr;
  if (const cudaError_t refused = simt::refuse_while_capturing(); refused != cudaSuccess) return refused;
  if (bytes == 0) return cudaSuccess;
  *address = simt::device_memory().allocate(bytes);
  return *address == nullptr ? failed(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaFree(void* address) {
  if (const cudaError_t refused = simt::refuse_while_capturing(); refused != cudaSuccess) return refused;
  if (address == nullptr) return cudaSuccess;
  simt::count_synchronisation();
  simt::run_all();
  return simt::device_memory().free(address) ? cudaSuccess : failed(cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned) {
  if (const cudaError_t refused = simt::refuse_while_capturing(); refused != cudaSuccess) return refused;
  *address = std::aligned_alloc(simt::kPage, simt::pages(bytes));
  if (*address == nullptr) return failed(cudaErrorMemoryAllocation);
  std::memset(*address, 0xff, bytes);
  simt::pinned().emplace(static_cast<const std::byte*>(*address), bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* address) {
  if (const cudaError_t refused = simt::refuse_while_capturing(); refused != cudaSuccess) return refused;
  simt::count_synchronisation();
  simt::run_all();
  if (simt::pinned().erase(static_cast<const std::byte*>(address)) == 0) return failed(cudaErrorInvalidValue);
  std::free(address);
  return cudaSuccess;
}

// Memory that is not page-locked is read before the call returns, and written before it returns: that one waits.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (!simt::fits(to, bytes, to_device) || !simt::fits(from, bytes, from_device)) return failed(cudaErrorInvalidValue);
  const bool paged_from = !from_device && !simt::is_pinned(from, bytes);
  const bool paged_to = !to_device && !simt::is_pinned(to, bytes);
  simt::Queue& queue = simt::queue_of(stream);
  if ((paged_from || paged_to) && queue.recording != nullptr) {
    queue.invalid = true;
    return failed(cudaErrorStreamCaptureUnsupported);
  }
  if (paged_from) {
    const auto* const begin = static_cast<const std::byte*>(from);
    simt::enqueue(
        stream,
        [to, taken = std::vector<std::byte>(begin, begin + bytes)] { std::memcpy(to, taken.data(), taken.size()); },
        "copy");
  } else {
    simt::enqueue(
        stream, [=] { std::memmove(to, from, bytes); }, "copy");
  }
  if (paged_to) return cudaStreamSynchronize(stream);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!simt::fits(to, bytes, true)) return failed(cudaErrorInvalidValue);
  simt::enqueue(
      stream, [=] { std::memset(to, byte, bytes); }, "memset");
  return cudaSuccess;
}
