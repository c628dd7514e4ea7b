// All that a run's records say, sorted for a page.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/report/chart.h"
#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

struct History {
  std::map<std::string, Curve> curves;  // by the tags of event_log.h; without what a session did that was lost
  std::vector<Record> baselines;
  std::vector<Record> tests;  // of the best checkpoint first
  Record confusion;           // of the best checkpoint; null before there is one
  Record samples;
  Record session;  // the newest one
  Index sessions = 0;
  double seconds = 0;  // of all sessions: training and validation

  const Curve& curve(const std::string& tag) const;  // empty where there is none
  Index last_step() const;                           // recorded
};

History read_history(const RunFolder& folder);

}  // namespace subquad::lra
