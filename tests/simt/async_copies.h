// The asynchronous copies of one thread: carried out when it waits for them, and not before. What stood at their
// destination is gone when they start.
#pragma once

#include <cstddef>
#include <vector>

namespace simt {

class AsyncCopies {
 public:
  void add(void* shared, const void* global, std::size_t bytes, bool valid);
  void commit();                  // closes a group
  void wait(int pending_groups);  // carries out all groups but the latest `pending_groups`
  bool pending() const { return !copies_.empty(); }
  void clear();

 private:
  struct Copy {
    void* shared;
    const void* global;
    std::size_t bytes;
    bool valid;
  };
  std::vector<Copy> copies_;
  std::vector<std::size_t> group_ends_;  // in copies_
};

}  // namespace simt
