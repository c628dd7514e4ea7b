#include "subquad/examples/lra/profile/table.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <map>
#include <sstream>
#include <tuple>
#include <utility>

#include "subquad/core/error.h"

namespace subquad::lra {

namespace {

constexpr double kMiB = 1 << 20;

std::string fixed_text(double number, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << number;
  return text.str();
}

std::string percent(double part, double whole) {
  return whole > 0 ? fixed_text(100 * part / whole, 1) + " %" : "-";
}

std::string row(const std::array<std::string, 8>& cells) {
  constexpr std::array<int, 8> kWidths = {34, 10, 9, 11, 9, 10, 9, 10};
  std::ostringstream line;
  line << "  ";
  for (std::size_t i = 0; i < cells.size(); ++i)
    line << (i < 2 ? std::left : std::right) << std::setw(kWidths[i]) << cells[i];
  const std::string text = line.str();
  return text.substr(0, text.find_last_not_of(' ') + 1) + '\n';
}

bool is_copy(const OpRecord& op) {
  return std::string_view(op.name) == "copy" && op.thread == 0;
}

std::string in_module(const CopyTotal& copy) {
  return copy.module.empty() ? copy.phase : cat(copy.phase, " of ", copy.module);
}

}  // namespace

std::vector<OpTotal> op_totals(const StepProfile& profile, const Roofs& roofs) {
  std::map<std::pair<std::string, std::string>, OpTotal> totals;
  for (const OpRecord& op : profile.ops) {
    if (op.thread != 0) continue;
    OpTotal& total = totals[{op.name, op.phase}];
    total.name = op.name;
    total.phase = op.phase;
    total.calls += 1;
    total.seconds += op.own_seconds;
    total.bytes += op.bytes;
    total.flops += op.flops;
    total.roof_seconds += roofs.seconds(op.flops, op.bytes);
  }
  std::vector<OpTotal> sorted;
  for (const auto& [key, total] : totals) sorted.push_back(total);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const OpTotal& a, const OpTotal& b) { return a.seconds > b.seconds; });
  return sorted;
}

std::vector<CopyTotal> copy_totals(const StepProfile& profile) {
  std::map<std::pair<std::string, std::string>, CopyTotal> totals;
  for (const OpRecord& op : profile.ops) {
    if (!is_copy(op)) continue;
    CopyTotal& total = totals[{op.phase, op.module}];
    if (total.calls == 0)
      total = {.phase = op.phase, .module = op.module, .shape = op.shapes.empty() ? Shape() : op.shapes[0]};
    total.calls += 1;
    total.bytes += op.bytes / 2;  // of what was read and what was written
  }
  std::vector<CopyTotal> sorted;
  for (const auto& [key, total] : totals) sorted.push_back(total);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const CopyTotal& a, const CopyTotal& b) { return a.bytes > b.bytes; });
  return sorted;
}

double seconds_outside_ops(const StepProfile& profile) {
  double outside = profile.seconds() - profile.waiting();
  for (const OpRecord& op : profile.ops)
    if (op.thread == 0) outside -= op.own_seconds;
  return std::max(outside, 0.0);
}

std::string profile_table(const StepProfile& profile, const Roofs& roofs) {
  const auto steps = static_cast<double>(profile.steps.size());
  const double whole = profile.seconds();
  std::string text =
      cat("profile of steps ", profile.steps.front().step + 1, " to ", profile.steps.back().step + 1, " on ",
          profile.device, ", ", fixed_text(1e3 * whole / steps, 2), " ms each\n", "  roofs: ", roofs.text(), '\n');
  text += row({"op", "phase", "calls", "ms", "share", "GFLOP/s", "GB/s", "roof"});
  constexpr double kShown = 0.001;  // of the time: what takes less stands together in one row
  OpTotal others;
  Index other_ops = 0;
  for (const OpTotal& op : op_totals(profile, roofs)) {
    if (op.seconds < kShown * whole) {
      ++other_ops;
      others.calls += op.calls;
      others.seconds += op.seconds;
      continue;
    }
    const auto rate = [&](double work) {
      return op.seconds > 0 && work > 0 ? fixed_text(1e-9 * work / op.seconds, 1) : "-";
    };
    text += row({op.name, op.phase, fixed_text(op.calls / steps, 1), fixed_text(1e3 * op.seconds / steps, 3),
                 percent(op.seconds, whole), rate(op.flops), rate(op.bytes),
                 op.roof_seconds > 0 ? percent(op.roof_seconds, op.seconds) : "-"});
  }
  const auto rest = [&](const char* name, double seconds) {
    text += row({name, "", "", fixed_text(1e3 * seconds / steps, 3), percent(seconds, whole), "", "", ""});
  };
  if (other_ops > 0)
    text += row({cat(other_ops, " more, each below 0.1 %"), "", fixed_text(others.calls / steps, 1),
                 fixed_text(1e3 * others.seconds / steps, 3), percent(others.seconds, whole), "", "", ""});
  rest("outside of kernels", seconds_outside_ops(profile));
  rest("waiting for batches", profile.waiting());

  text += cat("  allocations that reached the system: ", profile.system_allocations, " in ", profile.steps.size(),
              " steps\n");
  const std::vector<CopyTotal> copies = copy_totals(profile);
  CopyTotal all;
  for (const CopyTotal& copy : copies) {
    all.calls += copy.calls;
    all.bytes += copy.bytes;
  }
  text += cat("  copies in a step: ", fixed_text(all.calls / steps, 1), " of ", fixed_text(all.bytes / steps / kMiB, 3),
              " MiB");
  for (const CopyTotal& copy : copies)
    text += cat("\n    ", in_module(copy), ": ", fixed_text(copy.calls / steps, 1), " of ",
                fixed_text(copy.bytes / steps / kMiB, 3), " MiB, as ", copy.shape);
  return text;
}

}  // namespace subquad::lra
