#include "subquad/examples/lra/profile/trace.h"

#include <set>

#include "subquad/core/file.h"
#include "subquad/examples/lra/record_log.h"

namespace subquad::lra {

namespace {

constexpr int kDeviceTrack = 1000;  // beyond all threads

Record event(const std::string& name, const std::string& category, double start, double seconds, int track) {
  return {{"name", name},         {"cat", category}, {"ph", "X"},   {"ts", 1e6 * start},
          {"dur", 1e6 * seconds}, {"pid", 1},        {"tid", track}};
}

Record track_name(int track, const std::string& name) {
  return {{"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", track}, {"args", {{"name", name}}}};
}

Record op_event(const OpRecord& op, int track) {
  Record record = event(op.name, *op.phase == '\0' ? "beside" : op.phase, op.start, op.seconds, track);
  Record shapes = Record::array();
  for (const Shape& shape : op.shapes) shapes.push_back(cat(shape));
  record["args"] = {{"module", op.module}, {"shapes", shapes}, {"bytes", op.bytes}, {"flops", op.flops}};
  return record;
}

}  // namespace

void write_trace(const StepProfile& profile, const Roofs& roofs, const std::filesystem::path& path) {
  const bool on_cpu = profile.device.is_cpu();
  Record events = Record::array();
  events.push_back(track_name(0, "training"));
  if (!on_cpu) events.push_back(track_name(kDeviceTrack, cat(profile.device)));
  std::set<int> beside;
  for (const OpRecord& op : profile.ops)
    if (op.thread != 0 && beside.insert(op.thread).second)
      events.push_back(track_name(op.thread, cat("beside, ", op.thread)));
  for (const ProfiledStep& step : profile.steps) {
    events.push_back(event(cat("step ", step.step + 1), "step", step.start, step.seconds, 0));
    if (step.waiting > 0) events.push_back(event("waiting for a batch", "waiting", step.start, step.waiting, 0));
  }
  for (const OpRecord& op : profile.ops)
    events.push_back(op_event(op, on_cpu || op.thread != 0 ? op.thread : kDeviceTrack));
  const Record trace = {{"traceEvents", events},
                        {"displayTimeUnit", "ms"},
                        {"otherData", {{"device", cat(profile.device)}, {"roofs", roofs.text()}}}};
  AtomicFile file(path);
  file.write(trace.dump(-1, ' ', false, Record::error_handler_t::replace) + '\n');
  file.commit();
}

}  // namespace subquad::lra
