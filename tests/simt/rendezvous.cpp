// Where threads wait for each other, and what is said when they do not meet.
#include <bit>
#include <cstring>
#include <ios>
#include <utility>

#include "subquad/core/error.h"
#include "subquad/tests/simt/scheduler.h"

namespace simt {
namespace {

using subquad::cat;

bool same(const char* a, const char* b) {
  return a == b || std::strcmp(a, b) == 0;
}

std::string hex(unsigned mask) {
  return cat("0x", std::hex, mask);
}

}  // namespace

bool Scheduler::Call::operator==(const Call& other) const {
  return where.line == other.where.line && same(where.file, other.where.file) && same(intrinsic, other.intrinsic);
}

std::string Scheduler::Call::text() const {
  return cat(intrinsic, " at ", where.file, ":", where.line);
}

int Scheduler::meet_block(const char* intrinsic, bool predicate, Place where) {
  const Call call{intrinsic, where};
  if (returned_ > 0) {
    int thread = 0;
    while ((warps_[static_cast<std::size_t>(thread) / 32].returned >> thread % 32 & 1u) == 0) ++thread;
    fail(cat("waits in ", call.text(), ", but thread ", name(thread), " has returned"));
  }
  if (const Meeting* const meeting = waits_for_me())
    fail(cat("waits in ", call.text(), ", but thread ", lane_name(meeting->present), " waits for it in ",
             meeting->call.text()));
  if (waiting_ == 0) {
    barrier_ = call;
    barrier_first_ = current_;
  } else if (call != barrier_) {
    fail(cat("waits in ", call.text(), ", but thread ", name(barrier_first_), " waits for it in ", barrier_.text()));
  }
  warp().at_barrier |= bit();
  predicates_ += predicate ? 1 : 0;
  if (++waiting_ == static_cast<int>(threads_.size())) end_barrier();
  suspend();
  return result_;  // the next barrier cannot end before every thread has been here
}

void Scheduler::end_barrier() {
  result_ = std::exchange(predicates_, 0);
  waiting_ = 0;
  for (std::size_t w = 0; w < warps_.size(); ++w) {
    warps_[w].at_barrier = 0;
    make_ready(static_cast<int>(w), warps_[w].lanes);
  }
}

void Scheduler::meet_warp(unsigned mask, const char* intrinsic, Place where, void* operand,
                          void (*finish)(void* const* operands, unsigned mask)) {
  const Call call{intrinsic, where};
  check_lanes(call, mask);
  Meeting& meeting = join(call, mask);
  meeting.operands[static_cast<std::size_t>(current_) % 32] = operand;
  meeting.present |= bit();
  if (meeting.present == mask) {
    if (finish != nullptr) finish(meeting.operands.data(), mask);
    std::swap(meeting, warp().meetings.back());
    warp().meetings.pop_back();
    make_ready(current_ / 32, mask);
  }
  suspend();
}

void Scheduler::check_lanes(const Call& call, unsigned mask) {
  const Warp& warp = this->warp();
  if ((mask & bit()) == 0) fail(cat("called ", call.text(), " for lanes ", hex(mask), ", not its own"));
  if ((mask & ~warp.lanes) != 0)
    fail(cat("called ", call.text(), " for lanes ", hex(mask), ", but its warp has only ", hex(warp.lanes)));
  if ((mask & warp.returned) != 0)
    fail(cat("waits in ", call.text(), " for thread ", lane_name(mask & warp.returned), ", which has returned"));
  if ((mask & warp.at_barrier) != 0)
    fail(cat("waits in ", call.text(), " for thread ", lane_name(mask & warp.at_barrier), ", which waits in ",
             barrier_.text()));
}

Scheduler::Meeting& Scheduler::join(const Call& call, unsigned mask) {
  for (Meeting& meeting : warp().meetings) {
    if (meeting.mask == mask && meeting.call == call) return meeting;
    if ((meeting.mask & bit()) != 0 || (meeting.present & mask) != 0)
      fail(cat("waits in ", call.text(), " for lanes ", hex(mask), ", but thread ", lane_name(meeting.present),
               " waits in ", meeting.call.text(), " for lanes ", hex(meeting.mask)));
  }
  return warp().meetings.emplace_back(Meeting{call, mask, 0, {}});
}

const Scheduler::Meeting* Scheduler::waits_for_me() const {
  for (const Meeting& meeting : warp().meetings)
    if ((meeting.mask & bit()) != 0) return &meeting;
  return nullptr;
}

int meet_block(const char* intrinsic, bool predicate, Place where) {
  return scheduler().meet_block(intrinsic, predicate, where);
}

void meet_warp(unsigned mask, const char* intrinsic, Place where, void* operand,
               void (*finish)(void* const* operands, unsigned mask)) {
  scheduler().meet_warp(mask, intrinsic, where, operand, finish);
}

}  // namespace simt
