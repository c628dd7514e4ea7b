// The dynamic shared memory of a block.
#pragma once

#include <cstddef>
#include <memory>

namespace simt {

class SharedMemory {
 public:
  void resize(std::size_t bytes);
  void poison();        // as a block finds it: NaN
  bool intact() const;  // has nothing been written in front of it or behind it?

  // Aligned to 16 bytes and to no more. AddressSanitizer sees accesses outside of it from poison() to intact().
  unsigned char* data() { return memory_.get() + kFence; }
  std::size_t size() const { return bytes_; }
  bool contains(const void* at, std::size_t bytes) const;  // all of them?

 private:
  static constexpr std::size_t kFence = 64;  // bytes on either side

  std::size_t bytes_ = 0;
  std::unique_ptr<unsigned char[]> memory_;
};

}  // namespace simt
