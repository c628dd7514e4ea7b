#include "subquad/tests/simt/async_copies.h"

#include <cstdint>
#include <cstring>

#include "subquad/core/error.h"
#include "subquad/tests/simt/scheduler.h"

namespace simt {

void AsyncCopies::add(void* shared, const void* global, std::size_t bytes, bool valid) {
  std::memset(shared, 0xff, bytes);  // NaN: from here to the wait, what stands there is anybody's guess
  copies_.push_back({shared, global, bytes, valid});
}

void AsyncCopies::commit() {
  group_ends_.push_back(copies_.size());
}

void AsyncCopies::wait(int pending_groups) {
  const auto groups = static_cast<std::ptrdiff_t>(group_ends_.size()) - pending_groups;
  if (groups <= 0) return;
  const std::size_t end = group_ends_[static_cast<std::size_t>(groups) - 1];
  for (std::size_t i = 0; i < end; ++i) {
    const Copy& copy = copies_[i];
    if (copy.valid)
      std::memcpy(copy.shared, copy.global, copy.bytes);
    else
      std::memset(copy.shared, 0, copy.bytes);
  }
  copies_.erase(copies_.begin(), copies_.begin() + static_cast<std::ptrdiff_t>(end));
  group_ends_.erase(group_ends_.begin(), group_ends_.begin() + groups);
  for (std::size_t& group_end : group_ends_) group_end -= end;
}

void AsyncCopies::clear() {
  copies_.clear();
  group_ends_.clear();
}

void start_copy(void* shared, const void* global, std::size_t bytes, bool valid) {
  const auto misaligned = [=](const void* at) { return reinterpret_cast<std::uintptr_t>(at) % bytes != 0; };
  if (misaligned(shared) || misaligned(global))
    fail(subquad::cat("asynchronous copy of ", bytes, " bytes from ", global, " to ", shared,
                      ", which are not aligned to them"));
  if (!is_shared(shared, bytes)) fail("asynchronous copy to outside of shared memory");
  if (is_shared(global, bytes)) fail("asynchronous copy from shared memory");
  scheduler().copies().add(shared, global, bytes, valid);
}

void close_copies() {
  scheduler().copies().commit();
}

void await_copies(int pending_groups) {
  scheduler().copies().wait(pending_groups);
}

}  // namespace simt
