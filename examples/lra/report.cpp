#include "subquad/examples/lra/report.h"

#include <iomanip>

#include "subquad/core/allocator.h"
#include "subquad/examples/lra/baselines.h"
#include "subquad/examples/lra/parameter_rule.h"

namespace subquad::lra {

namespace {

void print_row(const std::string& name, double validation, double test, std::ostream& out) {
  out << "  " << std::left << std::setw(28) << name << std::right << std::fixed << std::setprecision(4) << std::setw(10)
      << validation << std::setw(10) << test << '\n';
}

void print_head(std::ostream& out) {
  out << "  " << std::left << std::setw(28) << "accuracy" << std::right << std::setw(10) << "validation"
      << std::setw(10) << "test" << '\n';
}

double mebibytes(std::uint64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

void print_by_first_token(const Task& task, const TestResult& result, std::ostream& out) {
  if (task.first_token.empty()) return;
  out << "  test accuracy of '" << result.checkpoint << "' by " << task.first_token << ':' << std::setprecision(3);
  for (const auto& [token, tally] : result.by_first_token)
    out << "  " << task.token_names[token] << ' ' << tally.accuracy() << " of " << tally.samples;
  out << '\n';
}

}  // namespace

void print_report(const TrainOptions& options, const Task& task, const Trainer& trainer,
                  const std::vector<TestResult>& results, std::ostream& out) {
  out << task.name << ", sequences of up to " << task.longest() << " tokens; " << options.model.encoder.attention.kind
      << " attention, seed " << options.seed << '\n'
      << rule_text(parameter_rule(trainer.parameter_count(), options.model, task.name, task.shape)) << '\n';
  for (const std::string& note : task.notes) out << "note: " << note << '\n';
  if (const std::string early = trainer.early_end(); !early.empty()) out << early << '\n';
  out << '\n';
  print_head(out);
  for (const TestResult& result : results)
    print_row(cat(result.checkpoint, " (step ", result.step, ")"), result.validation, result.test, out);
  for (const Baseline& baseline : baselines(task)) print_row(baseline.name, baseline.validation, baseline.test, out);
  out << '\n';
  print_by_first_token(task, results.front(), out);

  const Cost cost = trainer.cost();
  if (cost.steps > 0)
    out << "  this session: " << cost.steps << " steps in " << duration_text(cost.training_seconds) << ", "
        << rate_text(cost.tokens_per_second()) << " tokens/s; " << std::setprecision(1) << 100 * cost.waiting_share()
        << " % of the time went by waiting for data, " << 100 * cost.evaluation_waiting_share() << " % in evaluations\n"
        << "  new blocks of memory taken from the system in the second half of these steps: " << cost.system_allocations
        << '\n';
  out << "  peak memory " << std::setprecision(0) << mebibytes(memory_stats().peak_bytes) << " MiB in tensors, "
      << mebibytes(cost.process_bytes) << " MiB in the process" << std::endl;
}

}  // namespace subquad::lra
