#include "subquad/tests/simt/scheduler.h"

#include <bit>
#include <cstring>
#include <numeric>
#include <sstream>
#include <utility>

#include <simt/index.h>

namespace simt {
namespace {

template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

std::string triple(const uint3& at) {
  return cat("(", at.x, ", ", at.y, ", ", at.z, ")");
}

std::string call(const char* intrinsic, Place where) {
  return cat(intrinsic, " at ", where.file, ":", where.line);
}

bool same(Place a, Place b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

uint3 unfold(unsigned i, const dim3& size) {
  return {i % size.x, i / size.x % size.y, i / size.x / size.y};
}

Scheduler* running_scheduler = nullptr;  // while a grid runs

}  // namespace

Scheduler& scheduler() {
  if (running_scheduler == nullptr) throw KernelError("a function for device code was called outside of a kernel");
  return *running_scheduler;
}

void Scheduler::run(const Launch& launch, std::uint64_t seed) {
  running_scheduler = this;
  random_ = Random(seed);
  prepare(launch);
  std::vector<unsigned> blocks(std::size_t{launch.grid.x} * launch.grid.y * launch.grid.z);
  std::iota(blocks.begin(), blocks.end(), 0u);
  for (std::size_t i = blocks.size(); i > 1; --i)
    std::swap(blocks[i - 1], blocks[random_.below(static_cast<unsigned>(i))]);
  for (const unsigned block : blocks) {
    block_index = unfold(block, launch.grid);
    run_block();
    if (failure_ != nullptr) break;
  }
  running_scheduler = nullptr;
  if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Scheduler::prepare(const Launch& launch) {
  launch_ = &launch;
  grid_size = launch.grid;
  block_size = launch.block;
  shared_.resize(launch.shared_bytes);
  const std::size_t threads = std::size_t{launch.block.x} * launch.block.y * launch.block.z;
  threads_.resize(threads);
  for (std::size_t i = 0; i < threads; ++i) threads_[i].index = unfold(static_cast<unsigned>(i), launch.block);
  warps_.resize((threads + 31) / 32);
  for (std::size_t i = 0; i < warps_.size(); ++i)
    warps_[i].lanes = threads - 32 * i >= 32 ? 0xffffffffu : (1u << (threads - 32 * i)) - 1;
  // From lanes of all warps mixed to warps that run as far as they can.
  constexpr std::uint64_t kRarity[] = {0, 7, 63, ~std::uint64_t{0}};
  leave_warp_ = kRarity[random_.below(4)];
}

void Scheduler::run_block() {
  shared_.poison();
  returned_ = waiting_ = predicates_ = 0;
  for (std::size_t i = 0; i < warps_.size(); ++i) {
    warps_[i].returned = warps_[i].at_barrier = warps_[i].ready = 0;
    make_ready(static_cast<int>(i), warps_[i].lanes);
  }
  running_ = &host_;
  enter(draw());  // comes back when all threads have returned, or one has failed
  if (failure_ != nullptr) {
    for (Fiber* const fiber : fibers_) restart(*fiber);
    idle_ = fibers_;
    for (Thread& thread : threads_) {
      thread.fiber = nullptr;
      thread.copies.clear();
    }
    for (Warp& warp : warps_) warp.meetings.clear();
  }
  if (!shared_.intact() && failure_ == nullptr)
    failure_ =
        std::make_exception_ptr(KernelError(cat(kernel_name(launch_->kernel), ", block ", triple(block_index),
                                                ": wrote outside of its ", shared_.size(), " bytes of shared memory")));
}

void Scheduler::work() {
  for (;;) {
    Scheduler& self = scheduler();
    self.run_thread();
    const int next = self.draw();
    if (next >= 0 && self.threads_[static_cast<std::size_t>(next)].fiber == nullptr) {
      self.select(next);
      continue;
    }
    self.idle_.push_back(self.running_);
    if (next >= 0)
      self.enter(next);
    else
      switch_fiber(*std::exchange(self.running_, &self.host_), self.host_);
  }
}

void Scheduler::run_thread() {
  try {
    launch_->thread();
    return_thread();
    return;
  } catch (...) {
    failure_ = std::current_exception();
  }
  abandon();
}

void Scheduler::return_thread() {
  if (waiting_ > 0)
    fail(cat("has returned, but thread ", thread_name(barrier_first_), " waits for it in ",
             call(barrier_, barrier_place_)));
  for (const Meeting& meeting : warp().meetings)
    if ((meeting.mask & bit()) != 0)
      fail(cat("has returned, but thread ", thread_name(first(current_ / 32, meeting.present)), " waits for it in ",
               call(meeting.name, meeting.where)));
  if (copies().pending()) fail("has returned without waiting for its asynchronous copies");
  copies().clear();
  warp().returned |= bit();
  ++returned_;
}

void Scheduler::make_ready(int warp, unsigned lanes) {
  warps_[static_cast<std::size_t>(warp)].ready |= lanes;
  ready_warps_ |= 1u << warp;
}

int Scheduler::draw() {
  if (ready_warps_ == 0) return -1;
  const std::uint64_t random = random_();
  int warp = current_ / 32;
  if ((ready_warps_ >> warp & 1u) == 0 || (random >> 10 & leave_warp_) == 0)
    warp = draw_bit(ready_warps_, static_cast<unsigned>(random >> 5));
  unsigned& ready = warps_[static_cast<std::size_t>(warp)].ready;
  const int lane = draw_bit(ready, static_cast<unsigned>(random));
  ready &= ~(1u << lane);
  if (ready == 0) ready_warps_ &= ~(1u << warp);
  return 32 * warp + lane;
}

void Scheduler::select(int thread) {
  current_ = thread;
  lane_index = thread % 32;
  thread_index = threads_[static_cast<std::size_t>(thread)].index;
}

void Scheduler::enter(int thread) {
  select(thread);
  Fiber* to = std::exchange(threads_[static_cast<std::size_t>(thread)].fiber, nullptr);
  if (to == nullptr) {
    if (idle_.empty()) {
      fibers_.push_back(make_fiber(work));
      idle_.push_back(fibers_.back());
    }
    to = idle_.back();
    idle_.pop_back();
  }
  Fiber* const from = std::exchange(running_, to);
  if (from != to) switch_fiber(*from, *to);
}

void Scheduler::suspend() {
  threads_[static_cast<std::size_t>(current_)].fiber = running_;
  const int next = draw();
  if (next < 0) fail("waits, as all other threads do: a fault of the interpreter");
  enter(next);
}

void Scheduler::abandon() {
  switch_fiber(*std::exchange(running_, &host_), host_);
  std::terminate();  // nobody goes on in an abandoned fiber
}

void Scheduler::fail(const std::string& what) const {
  throw KernelError(cat(kernel_name(launch_->kernel), ", block ", triple(block_index), ", thread ",
                        thread_name(current_), ": ", what));
}

int Scheduler::meet_block(const char* name, bool predicate, Place where) {
  if (returned_ > 0) {
    std::size_t w = 0;
    while (warps_[w].returned == 0) ++w;
    fail(cat("waits in ", call(name, where), ", but thread ",
             thread_name(first(static_cast<int>(w), warps_[w].returned)), " has returned"));
  }
  for (const Meeting& meeting : warp().meetings)
    if ((meeting.mask & bit()) != 0)
      fail(cat("waits in ", call(name, where), ", but thread ", thread_name(first(current_ / 32, meeting.present)),
               " waits for it in ", call(meeting.name, meeting.where)));
  if (waiting_ == 0) {
    barrier_ = name;
    barrier_place_ = where;
    barrier_first_ = current_;
  } else if (!same(where, barrier_place_)) {
    fail(cat("waits in ", call(name, where), ", but thread ", thread_name(barrier_first_), " waits for it in ",
             call(barrier_, barrier_place_)));
  }
  warp().at_barrier |= bit();
  predicates_ += predicate ? 1 : 0;
  if (++waiting_ == static_cast<int>(threads_.size())) {
    result_ = std::exchange(predicates_, 0);
    waiting_ = 0;
    for (std::size_t w = 0; w < warps_.size(); ++w) {
      warps_[w].at_barrier = 0;
      make_ready(static_cast<int>(w), warps_[w].lanes);
    }
  }
  suspend();
  return result_;  // the next barrier cannot end before every thread has been here
}

Scheduler::Meeting& Scheduler::join(Warp& warp, unsigned mask, const char* name, Place where) {
  for (Meeting& meeting : warp.meetings) {
    if (meeting.mask == mask && same(meeting.where, where)) return meeting;
    if ((meeting.mask & bit()) != 0 || (meeting.present & mask) != 0)
      fail(cat("waits in ", call(name, where), " for lanes 0x", std::hex, mask, std::dec, ", but thread ",
               thread_name(first(current_ / 32, meeting.present)), " waits in ", call(meeting.name, meeting.where),
               " for lanes 0x", std::hex, meeting.mask));
  }
  return warp.meetings.emplace_back(Meeting{mask, 0, name, where, {}});
}

void Scheduler::meet_warp(unsigned mask, const char* name, Place where, void* operand,
                          void (*finish)(void* const* operands, unsigned mask)) {
  Warp& warp = this->warp();
  if ((mask & bit()) == 0) fail(cat("called ", call(name, where), " for lanes 0x", std::hex, mask, ", not its own"));
  if ((mask & ~warp.lanes) != 0)
    fail(cat("called ", call(name, where), " for lanes 0x", std::hex, mask, ", but its warp has only 0x", warp.lanes));
  if ((mask & warp.returned) != 0)
    fail(cat("waits in ", call(name, where), " for thread ", thread_name(first(current_ / 32, mask & warp.returned)),
             ", which has returned"));
  if ((mask & warp.at_barrier) != 0)
    fail(cat("waits in ", call(name, where), " for thread ", thread_name(first(current_ / 32, mask & warp.at_barrier)),
             ", which waits in ", call(barrier_, barrier_place_)));
  Meeting& meeting = join(warp, mask, name, where);
  meeting.operands[static_cast<std::size_t>(lane())] = operand;
  meeting.present |= bit();
  if (meeting.present == mask) {
    if (finish != nullptr) finish(meeting.operands.data(), mask);
    std::swap(meeting, warp.meetings.back());
    warp.meetings.pop_back();
    make_ready(current_ / 32, mask);
  }
  suspend();
}

std::string Scheduler::thread_name(int thread) const {
  return triple(threads_[static_cast<std::size_t>(thread)].index);
}

int Scheduler::first(int warp, unsigned lanes) const {
  return 32 * warp + std::countr_zero(lanes);
}

void fail(const std::string& what) {
  scheduler().fail(what);
}

int meet_block(const char* name, bool predicate, Place where) {
  return scheduler().meet_block(name, predicate, where);
}

void meet_warp(unsigned mask, const char* name, Place where, void* operand,
               void (*finish)(void* const* operands, unsigned mask)) {
  scheduler().meet_warp(mask, name, where, operand, finish);
}

unsigned char* shared_memory() {
  return scheduler().shared().data();
}

bool is_shared(const void* at, std::size_t bytes) {
  return scheduler().shared().contains(at, bytes);
}

void start_copy(void* shared, const void* global, std::size_t bytes, bool valid) {
  const auto misaligned = [=](const void* at) { return reinterpret_cast<std::uintptr_t>(at) % bytes != 0; };
  if (misaligned(shared) || misaligned(global))
    fail(
        cat("asynchronous copy of ", bytes, " bytes from ", global, " to ", shared, ", which are not aligned to them"));
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
