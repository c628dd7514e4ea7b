#include "subquad/examples/lra/report/history.h"

#include <algorithm>
#include <utility>

#include "subquad/examples/lra/report/event_log.h"

namespace subquad::lra {

namespace {

void add_points(History& history, const Record& record) {
  for (const auto& [tag, value] : scalars(record))
    history.curves[tag].push_back({record.value("step", Index{0}), value});
}

bool of_best(const Record& record) {
  return record.value("checkpoint", "").starts_with("best");
}

void take_metrics(History& history, const Record& record) {
  const std::string kind = record.value("kind", "");
  if (kind == "baseline") history.baselines.push_back(record);
  if (kind == "test") history.tests.push_back(record);
  if (kind == "confusion" && of_best(record)) history.confusion = record;
  if (kind == "samples" && of_best(record)) history.samples = record;
  if (kind == "train" || kind == "validation") add_points(history, record);
}

// timing.jsonl keeps what a killed session recorded behind the checkpoint that the next one began with.
void forget_behind(History& history, Index step) {
  for (auto& [tag, curve] : history.curves)
    if (tag.starts_with("speed/") || tag.starts_with("memory/"))
      std::erase_if(curve, [&](const Point& point) { return point.step > step; });
}

}  // namespace

const Curve& History::curve(const std::string& tag) const {
  static const Curve none;
  const auto found = curves.find(tag);
  return found == curves.end() ? none : found->second;
}

Index History::last_step() const {
  Index last = 0;
  for (const auto& [tag, curve] : curves)
    if (!curve.empty()) last = std::max(last, curve.back().step);
  return last;
}

History read_history(const RunFolder& folder) {
  History history;
  read_records(folder.metrics(), [&](const Record& record) { take_metrics(history, record); });
  std::stable_partition(history.tests.begin(), history.tests.end(), of_best);
  double session_seconds = 0;
  read_records(folder.timing(), [&](const Record& record) {
    if (record.value("kind", "") == "session") {
      history.session = record;
      ++history.sessions;
      history.seconds += std::exchange(session_seconds, 0);
      forget_behind(history, record.value("step", Index{0}));
    }
    if (record.value("kind", "") == "speed") session_seconds = record.value("seconds", session_seconds);
    add_points(history, record);
  });
  history.seconds += session_seconds;
  return history;
}

}  // namespace subquad::lra
