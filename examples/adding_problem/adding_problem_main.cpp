// Trains a mixer on the Adding or the Temporal-order problem and prints its learning curve; `adding_problem --help`
// lists what it can be told.
#include <chrono>
#include <iomanip>
#include <iostream>

#include "subquad/core/parallel.h"
#include "subquad/core/runtime.h"
#include "subquad/examples/adding_problem/learner.h"
#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/progress.h"

namespace subquad::adding_problem {

namespace {

using lra::OptionError;

struct Options {
  LearnerOptions learner;
  Index steps = 8000;
  Index evaluate_every = 500;
  Index test_items = 1000;
  int threads = 0;
};

void add_options(CLI::App& app, Options& o) {
  LearnerOptions& l = o.learner;
  lra::add_choice(app, "--task", l.source.problem, parse_problem, problem_name, "adding or order");
  lra::add_whole(app, "--length", l.source.length, 2, lra::kMostPositions, "Positions of a sequence");
  lra::add_whole(app, "--width", l.width, 1, lra::kMostFeatures, "Features per position");
  lra::add_whole(app, "--blocks", l.blocks, 0, 1000, "Blocks of the mixer");
  lra::add_whole(app, "--steps", o.steps, 0, lra::kMostSteps, "Optimiser steps");
  lra::add_whole(app, "--batch-size", l.batch_size, 1, lra::kMostSamples, "Sequences per step");
  lra::add_whole(app, "--train-items", l.train_items, 0, lra::kMostSteps,
                 "Size of a training set that is used again and again; 0: every item is new");
  lra::add_number(app, "--learning-rate", l.schedule.rate, lra::at_least(0), "Peak of the schedule");
  lra::add_choice(app, "--schedule", l.schedule.kind, nn::parse_schedule, nn::schedule_name,
                  "constant (as published, at 1e-3), linear, cosine or inverse_sqrt");
  lra::add_whole(app, "--warmup", l.schedule.warmup, 0, lra::kMostSteps, "Steps until the peak");
  lra::add_number(app, "--clip-norm", l.clip_norm, lra::at_least(0), "Largest norm of all gradients; 0: any");
  lra::add_whole(app, "--seed", l.seed, 0, std::numeric_limits<std::uint64_t>::max(), "Of weights and items");
  lra::add_whole(app, "--evaluate-every", o.evaluate_every, 1, lra::kMostSteps, "Steps between lines of the curve");
  lra::add_whole(app, "--test-items", o.test_items, 1, lra::kMostSamples, "Items that no step has seen");
  lra::add_whole(app, "--threads", o.threads, 0, 4096, "0: one per processor");
  lra::add_attention_options(app, l.attention);
  app.footer(
      "Example: adding_problem --task adding --length 1024 --protocol cdil\nExit status: 0 done, 1 error, 2 wrong "
      "option.");
}

void check_options(const CLI::App& app, Options& o) {
  LearnerOptions& l = o.learner;
  if (l.schedule.kind == nn::ScheduleKind::one_cycle)
    throw OptionError("--schedule one_cycle moves beta1, too, which this program does not; train_lra does");
  if (l.train_items > 0 && l.train_items % l.batch_size != 0)
    throw OptionError(cat("--train-items ", l.train_items, " does not divide by --batch-size ", l.batch_size));
  l.source.seed = l.seed;
  l.schedule.total = o.steps;
  if (l.attention.paramixer.factors > 0)
    l.attention.paramixer.rule = nn::FactorRule::ceil;  // refused where it is unread
  lra::check_attention(app, nn::attention_config(mixer_config(l)));
}

void print_line(const Options& o, Index step, double loss, double error, double seconds) {
  std::cout << std::setw(7) << step << std::fixed << std::setprecision(6) << std::setw(12) << loss
            << std::setprecision(2) << std::setw(9) << 100 * error << std::setw(10) << lra::duration_text(seconds);
  if (o.learner.source.problem == Problem::adding && on_plateau(loss))
    std::cout << "   plateau: always answering 1/2 has loss " << std::setprecision(4) << kPlateauLoss;
  std::cout << std::endl;
}

int adding_problem(const std::vector<std::string>& args) {
  Options options;
  options.learner.attention.paramixer.rule = nn::FactorRule::floor;  // as published for these tasks
  // At a constant rate the error moves up and down between 0.1 and 2 % for long.
  options.learner.schedule = {.kind = nn::ScheduleKind::cosine, .rate = 2e-3, .warmup = 100};
  CLI::App app("Trains a mixer on the Adding or the Temporal-order problem.", "adding_problem");
  app.option_defaults()->always_capture_default();
  add_options(app, options);
  if (!lra::parse_options(app, args)) return 0;
  check_options(app, options);
  if (options.threads > 0) set_num_threads(options.threads);
  flush_denormals();

  Learner learner(options.learner);
  const auto begin = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  std::cout << problem_name(options.learner.source.problem) << ", " << options.learner.source.length << " positions, "
            << options.learner.attention.kind << " attention, " << learner.parameter_count() << " parameters\n"
            << "   step   mean loss  error %      time   (error on " << options.test_items << " test items)\n";
  double total = 0;
  Index counted = 0;
  while (learner.steps() < options.steps) {
    total += learner.train();
    ++counted;
    if (learner.steps() % options.evaluate_every != 0 && learner.steps() != options.steps) continue;
    print_line(options, learner.steps(), total / static_cast<double>(counted),
               learner.error(Set::test, options.test_items), seconds());
    total = 0;
    counted = 0;
  }
  std::cout << "final error " << std::setprecision(2) << std::fixed
            << 100 * learner.error(Set::test, options.test_items) << " %\n";
  return 0;
}

}  // namespace

}  // namespace subquad::adding_problem

int main(int argc, char** argv) {
  return subquad::lra::run_program("adding_problem", argc, argv, subquad::adding_problem::adding_problem);
}
