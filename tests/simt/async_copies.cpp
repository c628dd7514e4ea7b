#include "subquad/tests/simt/async_copies.h"

#include <cstring>

namespace simt {

void AsyncCopies::add(void* shared, const void* global, std::size_t bytes, bool valid) {
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

}  // namespace simt
