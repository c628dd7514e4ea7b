#include "subquad/examples/lra/report/event_log.h"

#include <chrono>
#include <iomanip>
#include <sstream>

#include "subquad/core/error.h"

namespace subquad::lra {

namespace fs = std::filesystem;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

fs::path next_file(const RunFolder& folder) {
  for (int session = 1;; ++session) {
    std::ostringstream name;
    name << "events.out.tfevents." << std::setw(6) << std::setfill('0') << session;
    if (const fs::path path = folder.path() / name.str(); !fs::exists(path)) return path;
  }
}

}  // namespace

std::vector<Scalar> scalars(const Record& record) {
  std::vector<Scalar> found;
  const std::string kind = record.value("kind", "");
  if (kind == "train" || kind == "validation" || kind == "test") {
    const bool last =
        record.value("checkpoint", "") == "last";  // else one curve would run backwards to the best's step
    for (const auto& [name, value] : record.items())
      if (value.is_number() && name != "step")
        found.emplace_back(cat(kind, last ? "/last_" : "/", name), value.get<double>());
  } else if (kind == "speed") {
    const auto add = [&](const char* tag, const char* name, double unit) {
      const auto field = record.find(name);
      if (field != record.end() && field->is_number()) found.emplace_back(tag, field->get<double>() / unit);
    };
    constexpr double kMebibyte = 1 << 20;
    add("speed/tokens_per_second", "tokens_per_second", 1);
    add("speed/waiting_share", "waiting_share", 1);
    add("memory/tensors_MiB", "peak_bytes", kMebibyte);
    add("memory/process_MiB", "process_bytes", kMebibyte);
  }
  return found;
}

EventLog::EventLog(const RunFolder& folder, Index steps_done) : file_(next_file(folder), now()) {
  file_.start_session(steps_done + 1, now());
}

void EventLog::write(const Record& record) {
  file_.write(record.value("step", Index{0}), now(), scalars(record));
}

}  // namespace subquad::lra
