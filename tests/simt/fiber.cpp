#include "subquad/tests/simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {
namespace {

namespace context = boost::context::detail;

#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kStackBytes = std::size_t{512} << 10;  // instrumented frames are several times larger

void before_switch(Fiber& from, const Fiber& to) {
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.bytes);
}
void after_switch(Fiber& self, Fiber& from) {
  __sanitizer_finish_switch_fiber(self.fake_stack, &from.stack, &from.bytes);
}
void forget(const Fiber& fiber) {
  __asan_unpoison_memory_region(fiber.stack, fiber.bytes);
}
#else
constexpr std::size_t kStackBytes = std::size_t{128} << 10;

void before_switch(Fiber&, const Fiber&) {}
void after_switch(Fiber&, Fiber&) {}
void forget(const Fiber&) {}
#endif

struct Crossing {
  Fiber *from, *to;
};

void arrive(context::transfer_t transfer) {
  const Crossing crossing = *static_cast<const Crossing*>(transfer.data);
  crossing.from->context = transfer.fctx;
  after_switch(*crossing.to, *crossing.from);
}

void enter(context::transfer_t transfer) {
  void (*const body)() = static_cast<const Crossing*>(transfer.data)->to->body;
  arrive(transfer);
  body();
}

// Stacks that begin at the same place in every page would fight for the same lines of the cache.
std::size_t shift() {
  static std::size_t made = 0;
  return 128 * (made++ % 24);
}

}  // namespace

Fiber* make_fiber(void (*body)()) {
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const memory =
      mmap(nullptr, page + kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) throw std::bad_alloc();
  Fiber* const fiber = new Fiber;
  fiber->stack = static_cast<char*>(memory) + page;  // grows down, towards the page that faults
  fiber->bytes = kStackBytes - shift();
  fiber->body = body;
  restart(*fiber);
  return fiber;
}

void restart(Fiber& fiber) {
  forget(fiber);
  fiber.fake_stack = nullptr;
  void* const top = static_cast<char*>(const_cast<void*>(fiber.stack)) + fiber.bytes;
  fiber.context = context::make_fcontext(top, fiber.bytes, enter);
}

void switch_fiber(Fiber& from, Fiber& to) {
  Crossing crossing{&from, &to};
  before_switch(from, to);
  arrive(context::jump_fcontext(to.context, &crossing));
}

}  // namespace simt
