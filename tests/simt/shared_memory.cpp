#include "subquad/tests/simt/shared_memory.h"

#include <cstdint>
#include <cstring>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

namespace simt {
namespace {

constexpr int kNan = 0xff;  // in every byte: NaN as float, double and bfloat16, -1 as int
constexpr int kFencePattern = 0xa5;

bool all(const unsigned char* from, std::size_t bytes, int value) {
  for (std::size_t i = 0; i < bytes; ++i)
    if (from[i] != value) return false;
  return true;
}

}  // namespace

void SharedMemory::resize(std::size_t bytes) {
  if (memory_ != nullptr && bytes == bytes_) return;
  if (memory_ != nullptr) ASAN_UNPOISON_MEMORY_REGION(memory_.get(), bytes_ + 2 * kFence);
  memory_ = std::make_unique_for_overwrite<unsigned char[]>(bytes + 2 * kFence);
  bytes_ = bytes;
}

void SharedMemory::poison() {
  unsigned char* const before = memory_.get();
  unsigned char* const behind = data() + bytes_;
  ASAN_UNPOISON_MEMORY_REGION(before, bytes_ + 2 * kFence);
  std::memset(before, kFencePattern, kFence);
  std::memset(data(), kNan, bytes_);
  std::memset(behind, kFencePattern, kFence);
  ASAN_POISON_MEMORY_REGION(before, kFence);
  ASAN_POISON_MEMORY_REGION(behind, kFence);
}

bool SharedMemory::intact() const {
  const unsigned char* const before = memory_.get();
  const unsigned char* const behind = before + kFence + bytes_;
  ASAN_UNPOISON_MEMORY_REGION(before, bytes_ + 2 * kFence);
  return all(before, kFence, kFencePattern) && all(behind, kFence, kFencePattern);
}

bool SharedMemory::contains(const void* at, std::size_t bytes) const {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory_.get() + kFence);
  const auto from = reinterpret_cast<std::uintptr_t>(at);
  return from >= begin && from + bytes <= begin + bytes_;
}

}  // namespace simt
