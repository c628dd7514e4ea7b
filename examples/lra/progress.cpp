#include "subquad/examples/lra/progress.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace subquad::lra {

std::string rate_text(double per_second) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1);
  if (per_second >= 1e6)
    out << per_second / 1e6 << "M";
  else if (per_second >= 1e3)
    out << per_second / 1e3 << "k";
  else
    out << per_second;
  return out.str();
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<long long>(std::llround(std::max(0.0, seconds)));
  const long long hours = whole / 3600, minutes = whole / 60 % 60;
  std::ostringstream out;
  out << std::setfill('0');
  if (hours > 0)
    out << hours << ':' << std::setw(2) << minutes;
  else
    out << minutes;
  out << ':' << std::setw(2) << whole % 60;
  return out.str();
}

std::string progress_text(const ProgressReport& report) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(3) << "step " << report.step << '/' << report.steps << "   loss "
      << report.loss << "   accuracy " << report.accuracy << "   " << rate_text(report.tokens_per_second)
      << " tokens/s   " << duration_text(report.seconds_left) << " left";
  return out.str();
}

ProgressLine::ProgressLine(std::ostream& out, bool terminal, double plain_seconds)
    : out_(out), terminal_(terminal), interval_(terminal ? 0.1 : plain_seconds) {}

ProgressLine::~ProgressLine() {
  if (line_open_) out_ << std::endl;
}

bool ProgressLine::due() const {
  return Clock::now() >= next_;
}

void ProgressLine::show(const std::string& text) {
  next_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(interval_);
  if (terminal_)
    out_ << '\r' << text << "\x1b[K" << std::flush;  // the escape clears what a longer line left behind
  else
    out_ << text << std::endl;
  line_open_ = terminal_;
}

void ProgressLine::print(const std::string& text) {
  if (line_open_) out_ << "\r\x1b[K";
  line_open_ = false;
  out_ << text << std::endl;
}

}  // namespace subquad::lra
