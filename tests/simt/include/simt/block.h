// What the stand-ins for CUDA's intrinsics ask of the scheduler; to be called by the threads of a running kernel.
#pragma once

#include <cstddef>
#include <string>

namespace simt {

// A line of a kernel's source. As a default argument, {} is the line of the call.
struct Place {
  const char* file = __builtin_FILE();
  int line = __builtin_LINE();
};

// Ends the launch with an error: what is wrong, after the names of kernel, block and thread.
[[noreturn]] void fail(const std::string& what);

// All threads of the block wait here for each other; the number of those that came with `predicate`. An error when
// some wait at another place or have returned.
int meet_block(const char* intrinsic, bool predicate, Place where);

// The lanes in `mask` wait here for each other. The last one to come calls finish(operands, mask), where operands[l] is
// what lane l brought, which may live on its stack; then all go on. An error unless they bring the same mask and stand
// at the same place.
void meet_warp(unsigned mask, const char* intrinsic, Place where, void* operand = nullptr,
               void (*finish)(void* const* operands, unsigned mask) = nullptr);

// The dynamic shared memory of the running block: NaN (all bits set) until it is written.
unsigned char* shared_memory();
bool is_shared(const void* at, std::size_t bytes);  // all of them?

// Asynchronous copies of the running thread. They are carried out as late as the rules allow: when the thread waits for
// their group, and not before.
void start_copy(void* shared, const void* global, std::size_t bytes, bool valid);
void close_copies();
void await_copies(int pending_groups);

}  // namespace simt
