// Blocks of memory that wait to be handed out again: what the allocators of all devices have in common.
#pragma once

#include <bit>
#include <cstddef>
#include <map>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else  // without AddressSanitizer these do nothing
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace subquad {

// Size classes: eight per doubling, so that at most an eighth of a new block is unused; multiples of `grain`.
inline std::size_t class_bytes(std::size_t bytes, std::size_t grain) {
  if (bytes <= 8 * grain) return (bytes + grain - 1) / grain * grain;
  const std::size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

struct FreeBlock {
  void* address = nullptr;
  std::size_t bytes = 0;
};

// A request takes the smallest block that fits, unless that is more than kLooseFit times too large: batches of varying
// length would otherwise leave a set of blocks behind for every length.
class FreeBlocks {
 public:
  // Blocks that wait are out of bounds for AddressSanitizer, unless work that a device has not done yet may touch them.
  explicit FreeBlocks(bool out_of_bounds = true) : out_of_bounds_(out_of_bounds) {}

  void put(FreeBlock block) {
    blocks_.emplace(block.bytes, block.address);
    if (out_of_bounds_) ASAN_POISON_MEMORY_REGION(block.address, block.bytes);
  }

  FreeBlock take(std::size_t bytes) {  // an address of nullptr when there is none
    const auto it = blocks_.lower_bound(bytes);
    if (it == blocks_.end() || it->first > kLooseFit * bytes) return {};
    const FreeBlock block = {it->second, it->first};
    blocks_.erase(it);
    if (out_of_bounds_) ASAN_UNPOISON_MEMORY_REGION(block.address, block.bytes);
    return block;
  }

  template <class F>
  void drain(F&& f) {  // f(block) for every block, and forgets them
    for (const auto& [bytes, address] : blocks_) {
      if (out_of_bounds_) ASAN_UNPOISON_MEMORY_REGION(address, bytes);
      f(FreeBlock{address, bytes});
    }
    blocks_.clear();
  }

 private:
  static constexpr std::size_t kLooseFit = 2;
  bool out_of_bounds_;
  std::multimap<std::size_t, void*> blocks_;  // size to address
};

}  // namespace subquad
