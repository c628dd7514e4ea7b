// The live line of a run: redrawn in place on a terminal, a plain line every few seconds elsewhere.
#pragma once

#include <chrono>
#include <ostream>
#include <string>

#include "subquad/core/shape.h"

namespace subquad::lra {

struct ProgressReport {
  Index step = 0;
  Index steps = 0;
  double loss = 0;
  double accuracy = 0;           // of the same training batches as the loss
  double tokens_per_second = 0;  // real tokens, padding not counted
  double seconds_left = 0;
};

// "step 1200/5000   loss 2.013   accuracy 0.283   81.2k tokens/s   12:05 left"
std::string progress_text(const ProgressReport& report);
std::string duration_text(double seconds);  // 0:07, 12:05, 3:04:05
std::string rate_text(double per_second);   // 512.0, 81.2k, 1.5M

class ProgressLine {
 public:
  // `terminal`: is `out` one? Plain lines come at most every `plain_seconds`.
  ProgressLine(std::ostream& out, bool terminal, double plain_seconds);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool due() const;                     // would a line shown now not come too early after the last?
  void show(const std::string& text);   // the live line
  void print(const std::string& text);  // a line that stays

 private:
  using Clock = std::chrono::steady_clock;

  std::ostream& out_;
  bool terminal_;
  std::chrono::duration<double> interval_;
  Clock::time_point next_ = Clock::now();
  bool line_open_ = false;  // the cursor stands behind a live line
};

}  // namespace subquad::lra
