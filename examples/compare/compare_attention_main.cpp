// Puts the attentions side by side on the same queries, keys and values: errors against exact softmax, time, memory;
// `compare_attention --help` lists what it can be told.
#include <algorithm>
#include <iostream>
#include <limits>
#include <sstream>

#include "subquad/core/parallel.h"
#include "subquad/examples/compare/report.h"
#include "subquad/examples/compare/table.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::compare {

namespace {

using lra::OptionError;

struct Options {
  std::vector<InputKind> inputs = {InputKind::random, InputKind::smooth, InputKind::peaked, InputKind::stripes};
  std::string files;
  std::vector<Index> lengths = {256, 512, 1024};
  std::vector<Index> keys = {16, 32, 64, 128, 256};
  Index features = 32;
  FitOptions fit;
  std::vector<Index> time_lengths = {1024, 2048, 4096, 8192, 16384};
  bool no_time = false;
  bool quick = false;
  std::uint64_t seed = 1;
  std::string out;
};

constexpr std::uint64_t kLongest = 8192;  // of what is stored as N x N

std::vector<InputKind> parse_inputs(const std::string& text) {
  std::vector<InputKind> kinds;
  std::istringstream words(text + ",");
  for (std::string word; std::getline(words, word, ',');) {
    const InputKind kind = parse_input_kind(word);
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
  }
  return kinds;
}

void add_options(CLI::App& app, Options& o) {
  const auto check = [](const std::string& text) {
    try {
      parse_inputs(text);
      return std::string();
    } catch (const Error& error) {
      const std::string found = error.what();
      return found.substr(found.find('\''));
    }
  };
  app.add_option_function<std::string>(
         "--inputs", [&o](const std::string& text) { o.inputs = parse_inputs(text); },
         "Structure of q, k and v: random, smooth, peaked, stripes")
      ->default_str("random,smooth,peaked,stripes")
      ->type_name("NAME,NAME...")
      ->check(CLI::Validator(check, ""));
  app.add_option("--npy", o.files, "In their place q.npy, k.npy and v.npy of this folder, [N, E] each")
      ->type_name("DIR");
  lra::add_wholes(app, "--n", o.lengths, 16, kLongest, "Positions; budgets are varied at the largest");
  lra::add_wholes(app, "--keys", o.keys, 2, kLongest,
                  "Budgets: the work of so many keys a query; the middle one in the table");
  lra::add_whole(app, "--features", o.features, 1, 1024, "E of the one head");
  lra::add_whole(app, "--fit-steps", o.fit.steps, 0, lra::kMostSteps,
                 "AdamW steps that fit Paramixer's factors to a softmax matrix; 0: no fit");
  lra::add_wholes(app, "--time-n", o.time_lengths, 16, lra::kMostPositions, "Positions that are timed");
  app.add_flag("--no-time", o.no_time, "Measure neither time nor memory");
  app.add_flag("--quick", o.quick, "Small sizes for what is not given: a few seconds");
  lra::add_whole(app, "--seed", o.seed, 0, std::numeric_limits<std::uint64_t>::max(), "Of inputs and fresh parameters");
  app.add_option("--out", o.out,
                 "Folder for errors.json, growth.json, pictures and compare.html; none: the table alone")
      ->type_name("DIR");
  app.footer(
      "Example: compare_attention --quick --out compared\n"
      "Exit status: 0 done, 1 error, 2 wrong option.");
}

void settle(CLI::App& app, Options& o) {
  const auto small = [&](const char* name, auto& value, const auto& quick) {
    if (app.get_option(name)->count() == 0) value = quick;
  };
  if (o.quick) {
    small("--n", o.lengths, std::vector<Index>{128, 256});
    small("--keys", o.keys, std::vector<Index>{16, 32, 64});
    small("--fit-steps", o.fit.steps, 100);
    small("--time-n", o.time_lengths, std::vector<Index>{512, 1024, 2048});
  }
  for (std::vector<Index>* list : {&o.lengths, &o.keys, &o.time_lengths}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  if (o.files.empty()) return;
  for (const char* unread : {"--inputs", "--n", "--features"})
    if (app.get_option(unread)->count() > 0)
      throw OptionError(cat(unread, " says what the files of --npy say themselves; give one of the two"));
}

void tell(const std::string& what) {
  std::cerr << what << std::endl;
}

// Budgets are varied at the largest N; at the others there is the middle one.
std::vector<ErrorRow> all_errors(const Options& o, Index middle) {
  std::vector<ErrorRow> rows;
  const auto measure = [&](const Inputs& in, bool all_budgets) {
    ErrorOptions options{.keys = {middle}, .factors = {}, .links = {}, .fit = o.fit, .seed = o.seed};
    options.fit.seed = o.seed;
    if (o.fit.steps > 0) options.factors = {0};
    if (all_budgets) {
      options.keys = o.keys;
      if (o.fit.steps > 0) {
        options.factors = {2, 5, 0, 20};
        options.links = {3, 5, 9};
      }
    }
    const auto told = [&](const std::string& what) { tell(cat(in.name, ", N = ", in.positions(), ": ", what)); };
    for (ErrorRow& row : measure_errors(in, options, told)) rows.push_back(std::move(row));
  };
  if (!o.files.empty()) {
    measure(read_inputs(o.files), true);
    return rows;
  }
  for (const InputKind kind : o.inputs)
    for (const Index positions : o.lengths)
      measure(make_inputs(kind, positions, o.features, o.seed), positions == o.lengths.back());
  return rows;
}

int compare_attention(const std::vector<std::string>& args) {
  Options o;
  CLI::App app("Puts the attentions side by side on the same queries, keys and values.", "compare_attention");
  app.option_defaults()->always_capture_default();
  add_options(app, o);
  if (!lra::parse_options(app, args)) return 0;
  settle(app, o);
  if (!o.out.empty()) make_report_folder(o.out);  // what cannot be written shall not be computed first
  lra::set_up_processor(1);  // what is timed is the work of one thread
  const Index middle = o.keys[o.keys.size() / 2];
  Comparison c{.width = o.features,
               .seed = o.seed,
               .fit_steps = o.fit.steps,
               .keys = middle,
               .errors = all_errors(o, middle),
               .growth_options = {.lengths = o.time_lengths, .seed = o.seed},
               .growth = {}};
  if (!o.files.empty()) c.width = read_inputs(o.files).width();
  if (!o.no_time)
    for (const std::string& kind : nn::attention_kinds())
      c.growth.push_back(measure_growth(kind, c.growth_options, tell));
  std::cout << table(c);
  if (o.out.empty()) return 0;
  std::cout << "\nwritten to " << o.out << ":";
  for (const std::string& name : write_report(o.out, c)) std::cout << ' ' << name;
  std::cout << '\n';
  return 0;
}

}  // namespace

}  // namespace subquad::compare

int main(int argc, char** argv) {
  return subquad::lra::run_program("compare_attention", argc, argv, subquad::compare::compare_attention);
}
