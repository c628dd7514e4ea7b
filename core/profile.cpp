#include "subquad/core/profile.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>

#include "subquad/core/cuda/event.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/error.h"

namespace subquad {

std::atomic<bool> OpScope::profiling{false};

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostShapes = 8;

struct Timed {
  OpRecord op;
  std::shared_ptr<cuda::Event> begin, end;  // on CUDA
  std::vector<std::size_t> inside;          // positions in the log of the ops right inside of it: CUDA
};

// Of the Profile that lives. Threads add to it when an op ends; the mutex guards all of it.
struct Log {
  std::mutex mutex;
  Device device;
  Clock::time_point start;
  std::shared_ptr<cuda::Event> start_event;
  std::uint64_t number = 0;  // of the Profile: an op that began under an earlier one is no part of it
  int threads = 0;
  std::vector<Timed> ops;
};

Log& log() {
  static Log& log = *new Log;  // never destroyed: threads may outlive the statics
  return log;
}

// Memory from the first to the last element of a tensor, and how many bytes of it are the tensor's.
struct Range {
  const std::byte *begin, *end;
  double bytes;
};

// An op that has begun and not ended.
struct Open {
  Timed timed;
  std::uint64_t profile = 0;
  bool kept = false;  // has its record once it ends
  Clock::time_point begin;
  double seconds_inside = 0;
  std::vector<Range> ranges;
};

thread_local std::vector<Open> open_ops;  // the innermost last
thread_local const char* phase = "";
const std::string kNoModule;
thread_local const std::string* module_path = &kNoModule;
thread_local std::uint64_t known_in = 0;  // the Profile that gave this thread its number
thread_local int thread_number = 0;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

// A moment in the stream of `device`; nullptr on the CPU.
std::shared_ptr<cuda::Event> mark(Device device) {
  return on_device(
      device, [](auto) { return std::shared_ptr<cuda::Event>(); },
      [](auto) {
        const auto event = std::make_shared<cuda::Event>(true);
        event->record(cuda::current_stream());
        return event;
      },
      nullptr);
}

bool recording_graph(Device device) {
  return on_device(
      device, [](auto) { return false; }, [](auto) { return cuda::recording(); }, nullptr);
}

double seconds_between_marks(Device device, const cuda::Event* begin, const cuda::Event* end) {
  return on_device(
      device, [](auto) { return 0.0; }, [&](auto) { return end->seconds_since(*begin); }, nullptr);
}

// The clock's times are there already; those of events are looked up now that they all have happened.
void read_events(const Log& log, std::vector<Timed>& ops) {
  for (Timed& timed : ops) {
    timed.op.start = seconds_between_marks(log.device, log.start_event.get(), timed.begin.get());
    timed.op.seconds = seconds_between_marks(log.device, timed.begin.get(), timed.end.get());
  }
  for (Timed& timed : ops) {
    timed.op.own_seconds = timed.op.seconds;
    for (const std::size_t i : timed.inside) timed.op.own_seconds -= ops[i].op.seconds;
    timed.op.own_seconds = std::max(timed.op.own_seconds, 0.0);
  }
}

}  // namespace

void OpScope::begin(Device device, const char* op, Flops flops) {
  Log& log = subquad::log();
  Open open;
  {
    const std::lock_guard lock(log.mutex);
    open.kept = profiling && device == log.device && !recording_graph(device);
    open.profile = log.number;
    if (open.kept && std::exchange(known_in, log.number) != log.number) thread_number = log.threads++;
  }
  OpRecord& record = open.timed.op;
  record.name = op;
  record.phase = phase;
  record.module = *module_path;
  record.thread = thread_number;
  record.depth = static_cast<int>(open_ops.size());
  record.flops = flops.count;
  if (open.kept) open.timed.begin = mark(device);
  open.begin = Clock::now();
  open_ops.push_back(std::move(open));
}

void OpScope::end() noexcept {
  const Clock::time_point now = Clock::now();
  Open open = std::move(open_ops.back());
  open_ops.pop_back();
  OpRecord& record = open.timed.op;
  record.seconds = seconds_between(open.begin, now);
  record.own_seconds = record.seconds - open.seconds_inside;
  if (!open_ops.empty()) open_ops.back().seconds_inside += record.seconds;
  if (!open.kept) return;
  Log& log = subquad::log();
  const std::lock_guard lock(log.mutex);
  if (!profiling || log.number != open.profile) return;
  record.start = seconds_between(log.start, open.begin);
  try {
    open.timed.end = mark(log.device);
    if (!open_ops.empty()) open_ops.back().timed.inside.push_back(log.ops.size());
    log.ops.push_back(std::move(open.timed));
  } catch (...) {  // the op has failed, or memory has: its record is lost, nothing else
  }
}

void note_touched(const Tensor& t, const std::byte* first) {
  if (open_ops.empty() || t.size() == 0) return;
  Open& open = open_ops.back();
  const auto each = static_cast<Index>(dtype_bytes(t.dtype()));
  Index elements = 1, last = 0;  // an expanded dimension is the same elements again
  for (int d = 0; d < t.rank(); ++d) {
    if (t.strides()[d] != 0) elements *= t.shape()[d];
    last += (t.shape()[d] - 1) * t.strides()[d];
  }
  const Range range = {first, first + (last + 1) * each, static_cast<double>(elements * each)};
  OpRecord& record = open.timed.op;
  for (const Range& known : open.ranges)
    if (known.begin <= range.begin && range.end <= known.end) return;
  std::erase_if(open.ranges, [&](const Range& known) {
    const bool inside = range.begin <= known.begin && known.end <= range.end;
    if (inside) record.bytes -= known.bytes;
    return inside;
  });
  open.ranges.push_back(range);
  record.bytes += range.bytes;
  if (record.shapes.size() < kMostShapes) record.shapes.push_back(t.shape());
}

Profile::Profile(Device device) {
  Log& log = subquad::log();
  const std::lock_guard lock(log.mutex);
  if (OpScope::profiling) throw Error("Profile: another one lives");
  ++log.number;
  log.device = device;
  log.ops.clear();
  log.threads = 1;
  known_in = log.number;
  thread_number = 0;
  log.start = Clock::now();
  log.start_event = mark(device);
  OpScope::profiling = true;
}

Profile::~Profile() {
  Log& log = subquad::log();
  const std::lock_guard lock(log.mutex);
  OpScope::profiling = false;
  log.ops.clear();
  log.start_event = nullptr;
}

double Profile::seconds() const {
  return seconds_between(log().start, Clock::now());
}

std::vector<OpRecord> Profile::records() const {
  Log& log = subquad::log();
  synchronize(log.device);
  const std::lock_guard lock(log.mutex);
  if (!log.device.is_cpu()) read_events(log, log.ops);
  std::vector<OpRecord> records;
  for (const Timed& timed : log.ops) records.push_back(timed.op);
  std::stable_sort(records.begin(), records.end(), [](const OpRecord& a, const OpRecord& b) {
    return std::tie(a.thread, a.start, a.depth) < std::tie(b.thread, b.start, b.depth);
  });
  return records;
}

ProfilePhase::ProfilePhase(const char* name) : ProfilePhase(name, *module_path) {}

ProfilePhase::ProfilePhase(const char* name, const std::string& module)
    : name_before_(std::exchange(phase, name)), module_before_(std::exchange(module_path, &module)) {}

ProfilePhase::~ProfilePhase() {
  phase = name_before_;
  module_path = module_before_;
}

void set_profile_module(const std::string* path) {
  module_path = path;
}

}  // namespace subquad
