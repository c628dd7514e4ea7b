// Stacks that threads of a kernel run on, and going over from one to another. AddressSanitizer is told.
#pragma once

#include <cstddef>

namespace simt {

struct Fiber {
  void* context = nullptr;     // where it goes on; meaningless while it runs
  void* fake_stack = nullptr;  // AddressSanitizer's
  const void* stack = nullptr;
  std::size_t bytes = 0;
  void (*body)() = nullptr;
};

// A new fiber that calls `body` when it is first switched to; body never returns. Its stack lives until the process
// ends and has a page behind it that faults when it is touched.
Fiber* make_fiber(void (*body)());

// Makes the fiber start anew; whatever stood on its stack is forgotten.
void restart(Fiber& fiber);

// Leaves the running fiber (the first one is the caller's own stack) and goes on in `to`; returns when somebody
// switches back.
void switch_fiber(Fiber& from, Fiber& to);

}  // namespace simt
