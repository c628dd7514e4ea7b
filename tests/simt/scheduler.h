// Runs the threads of a grid: its blocks one after the other in a random order, the threads of a block in turns. A
// thread runs until it waits for others or returns; then the next one is drawn. A fiber is used up only by threads that
// wait: one that returns leaves its stack to the next one that starts.
#pragma once

#include <array>
#include <exception>
#include <string>
#include <vector>

#include <simt/block.h>
#include <simt/launch.h>
#include "subquad/tests/simt/async_copies.h"
#include "subquad/tests/simt/fiber.h"
#include "subquad/tests/simt/random.h"
#include "subquad/tests/simt/shared_memory.h"

namespace simt {

class Scheduler {
 public:
  void run(const Launch& launch, std::uint64_t seed);

  // For the running thread: see simt/block.h.
  [[noreturn]] void fail(const std::string& what) const;
  int meet_block(const char* intrinsic, bool predicate, Place where);
  void meet_warp(unsigned mask, const char* intrinsic, Place where, void* operand,
                 void (*finish)(void* const* operands, unsigned mask));
  AsyncCopies& copies() { return threads_[static_cast<std::size_t>(current_)].copies; }
  SharedMemory& shared() { return shared_; }

 private:
  struct Thread {
    Fiber* fiber = nullptr;  // where it waits; null before it starts
    uint3 index = {};
    AsyncCopies copies;
  };
  struct Call {  // of an intrinsic that waits
    const char* intrinsic = nullptr;
    Place where;
    bool operator==(const Call& other) const;
    std::string text() const;
  };
  // Lanes that wait for the other lanes of a mask.
  struct Meeting {
    Call call;
    unsigned mask, present;
    std::array<void*, 32> operands;
  };
  struct Warp {
    unsigned lanes = 0;  // that it has
    unsigned ready = 0, at_barrier = 0, returned = 0;
    std::vector<Meeting> meetings;
  };

  void prepare(const Launch& launch);
  void run_block();
  static void work();  // what a fiber does: run threads, one after the other, for ever
  void run_thread();
  void return_thread();
  int draw();              // the thread to run next, no longer ready; -1 when none is
  void enter(int thread);  // goes over to its fiber
  void select(int thread);
  void suspend();
  [[noreturn]] void abandon();
  void make_ready(int warp, unsigned lanes);
  void check_lanes(const Call& call, unsigned mask);
  Meeting& join(const Call& call, unsigned mask);
  const Meeting* waits_for_me() const;  // lanes that do, if any
  void end_barrier();

  Warp& warp() { return warps_[static_cast<std::size_t>(current_) / 32]; }
  const Warp& warp() const { return warps_[static_cast<std::size_t>(current_) / 32]; }
  unsigned bit() const { return 1u << current_ % 32; }
  std::string name(int thread) const;
  std::string lane_name(unsigned lanes) const;  // of the first one in the running warp

  const Launch* launch_ = nullptr;
  Random random_;
  std::uint64_t leave_warp_ = 0;  // a warp is left early when these bits of a random number are 0
  SharedMemory shared_;

  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  unsigned ready_warps_ = 0;
  int current_ = 0;  // thread
  int returned_ = 0;

  // The barrier that threads of the block wait at.
  Call barrier_;
  int barrier_first_ = 0;  // the thread that came first
  int waiting_ = 0, predicates_ = 0, result_ = 0;

  Fiber host_;
  Fiber* running_ = nullptr;
  std::vector<Fiber*> fibers_, idle_;
  std::exception_ptr failure_;
};

Scheduler& scheduler();  // of the running grid

}  // namespace simt
