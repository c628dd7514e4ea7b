#include "subquad/tests/simt/scheduler.h"

#include <bit>
#include <numeric>
#include <utility>

#include <simt/index.h>

#include "subquad/core/error.h"

namespace simt {
namespace {

using subquad::cat;

std::string triple(const uint3& at) {
  return cat("(", at.x, ", ", at.y, ", ", at.z, ")");
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
  random_ = Random(seed);
  prepare(launch);
  running_scheduler = this;
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
  ready_warps_ = 0;
  returned_ = waiting_ = predicates_ = 0;
  for (std::size_t i = 0; i < warps_.size(); ++i) {
    warps_[i].returned = warps_[i].at_barrier = warps_[i].ready = 0;
    make_ready(static_cast<int>(i), warps_[i].lanes);
  }
  current_ = 32 * static_cast<int>(random_.below(static_cast<unsigned>(warps_.size())));
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
  if (waiting_ > 0) fail(cat("has returned, but thread ", name(barrier_first_), " waits for it in ", barrier_.text()));
  if (const Meeting* const meeting = waits_for_me())
    fail(cat("has returned, but thread ", lane_name(meeting->present), " waits for it in ", meeting->call.text()));
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
  throw KernelError(
      cat(kernel_name(launch_->kernel), ", block ", triple(block_index), ", thread ", name(current_), ": ", what));
}

std::string Scheduler::name(int thread) const {
  return triple(threads_[static_cast<std::size_t>(thread)].index);
}

std::string Scheduler::lane_name(unsigned lanes) const {
  return name(current_ / 32 * 32 + std::countr_zero(lanes));
}

void fail(const std::string& what) {
  scheduler().fail(what);
}

unsigned char* shared_memory() {
  return scheduler().shared().data();
}

bool is_shared(const void* at, std::size_t bytes) {
  return scheduler().shared().contains(at, bytes);
}

}  // namespace simt
