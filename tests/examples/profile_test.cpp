// --profile: the table, the trace, and what a steady step of each attention must not do.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "subquad/core/allocator.h"
#include "subquad/examples/lra/learner.h"
#include "subquad/examples/lra/profile/table.h"
#include "subquad/examples/lra/profile/trace.h"
#include "subquad/kernels/circular/circular.h"
#include "subquad/kernels/fft/fft.h"
#include "subquad/kernels/hidden_cross/hidden_cross.h"
#include "subquad/kernels/span_attention/span_attention.h"
#include "subquad/kernels/span_pool/span_pool.h"
#include "subquad/kernels/spans/spans.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/examples/train_lra_runs.h"
#include "subquad/tests/support/compare.h"

using namespace subquad;
using namespace subquad::lra;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::ScratchFolder;

namespace fs = std::filesystem;

namespace {

OpRecord made_up(const char* name, const char* phase, double start, double own_seconds, double bytes,
                 double flops = 0) {
  OpRecord op;
  op.name = name;
  op.phase = phase;
  op.module = "encoder.0";
  op.start = start;
  op.seconds = op.own_seconds = own_seconds;
  op.bytes = bytes;
  op.flops = flops;
  op.shapes = {{2, 3}};
  return op;
}

// Two steps of 10 ms.
StepProfile made_up_profile() {
  StepProfile profile;
  profile.steps = {{.step = 10, .start = 0, .seconds = 0.01, .waiting = 0.001},
                   {.step = 11, .start = 0.02, .seconds = 0.01}};
  profile.ops = {
      made_up("copy", "forward", 0.001, 0.001, 1 << 20), made_up("matmul", "forward", 0.003, 0.004, 4e6, 4e8),
      made_up("matmul", "backward", 0.02, 0.008, 8e6, 8e8), made_up("matmul", "forward", 0.028, 0.001, 4e6, 4e8)};
  profile.ops.push_back(made_up("fill", "", 0.005, 0.002, 64));
  profile.ops.back().thread = 1;
  profile.system_allocations = 3;
  return profile;
}

const Roofs kRoofs = {1e12, {{65536, 1e11}, {1e9, 1e10}}};

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("profile table: ops by share, what lies outside, allocations and copies") {
  const StepProfile profile = made_up_profile();
  CHECK_EQ(kRoofs.seconds(1e9, 65536), 1e-3);
  CHECK_EQ(kRoofs.seconds(0, 1e10), 1);
  const std::vector<OpTotal> totals = op_totals(profile, kRoofs);
  REQUIRE_EQ(totals.size(), 3);
  CHECK_EQ(totals[0].phase, "backward");
  CHECK_EQ(totals[1].calls, 2);
  CHECK_EQ(totals[1].seconds, doctest::Approx(0.005));
  CHECK_EQ(totals[1].roof_seconds, doctest::Approx(0.0008));
  CHECK_EQ(seconds_outside_ops(profile), doctest::Approx(0.005));
  const std::string text = profile_table(profile, kRoofs);
  for (const char* line : {
           "profile of steps 11 to 12 on cpu, 10.00 ms each\n",
           "  matmul                            backward        0.5      4.000   40.0 %     100.0      1.0    10.0 %\n",
           "  matmul                            forward         1.0      2.500   25.0 %     160.0      1.6    16.0 %\n",
           "  outside of kernels                                         2.500   25.0 %\n",
           "  waiting for batches                                        0.500    5.0 %\n",
           "  allocations that reached the system: 3 in 2 steps\n",
           "  copies in a step: 0.5 of 0.250 MiB\n    forward of encoder.0: 0.5 of 0.250 MiB, as [2, 3]",
       }) {
    CAPTURE(text);
    CAPTURE(line);
    CHECK_NE(text.find(line), std::string::npos);
  }
}

TEST_CASE("profile trace: Chrome's complete events, on a track for each thread, on one more for a GPU") {
  const ScratchFolder scratch;
  StepProfile profile = made_up_profile();
  for (const Device device : {kCpu, Device{DeviceType::cuda, 0}}) {
    profile.device = device;
    write_trace(profile, kRoofs, scratch / "trace.json");
    const nlohmann::json trace = nlohmann::json::parse(read_text(scratch / "trace.json"));
    std::map<std::string, int> events;
    for (const nlohmann::json& event : trace.at("traceEvents")) {
      CHECK(event.at("name").is_string());
      CHECK(event.at("pid").is_number());
      CHECK(event.at("tid").is_number());
      ++events[event.at("name")];
      if (event.at("ph") == "M") continue;
      CHECK_EQ(event.at("ph"), "X");
      CHECK(event.at("ts").is_number());
      CHECK_GE(event.at("dur"), 0);
      if (event.at("name") == "matmul") CHECK_EQ(event.at("args").at("shapes"), nlohmann::json::parse(R"(["[2, 3]"])"));
      if (event.at("name") == "matmul") CHECK_EQ(event.at("tid") == 0, device.is_cpu());
      if (event.at("name") == "fill") CHECK_EQ(event.at("tid"), 1);
    }
    CHECK_EQ(events.at("matmul"), 3);
    CHECK_EQ(events.at("step 11"), 1);
    CHECK_EQ(events.at("waiting for a batch"), 1);
    CHECK_EQ(events.at("thread_name"), device.is_cpu() ? 2 : 3);
  }
}

// Where copies remain, and why no view serves: a step's numbers are read later, when the next step has changed them; a
// conversion writes another dtype; the table of positions is longer than the batch, and its gradient is of its size;
// factor_mlp adds its gradients in padded tiles.
TEST_CASE("profile: a steady step of each attention asks the system for no memory, and copies what has a name here") {
  const std::vector<std::string> kAlways = {
      "forward []",                                // the loss becomes float64
      "forward [1]",                               // and so does the count of right answers
      "forward [3]",                               // a step's three numbers, to be read later
      "update [1]",   "update [1]", "update [1]",  // which are put together
      "backward [8]",                              // the loss' gradient, one number spread over the samples
  };
  const std::vector<std::string> kOfEncoder = {
      "forward [8]", "forward [8]",          // lengths become float64, and their reciprocals float32
      "backward encoder.positions [16, 8]",  // into the gradient of the table
  };
  for (const std::string& kind : nn::attention_kinds()) {
    CAPTURE(kind);
    TrainOptions options;
    options.model.encoder.max_length = 32;
    options.model.encoder.width = 8;
    options.model.encoder.hidden = 8;
    options.model.encoder.head_hidden = {8};
    nn::AttentionConfig& attention = options.model.encoder.attention;
    attention.kind = kind;
    attention.heads = kind == "paramixer" ? 1 : 2;
    attention.nystrom.landmarks = 4;
    attention.fsat.lags = 5;
    attention.fsat.columns = 2;
    attention.fsat.window = 1;
    options.batches.pad_to = 16;
    Sequences set;
    for (Index i = 0; i < 8; ++i) set.append(std::vector<Token>(static_cast<std::size_t>(9 + i), 1), i % 3);
    const Batch batch = make_batch(set, {0, 1, 2, 3, 4, 5, 6, 7}, options.batches);
    Learner learner(options, {4, 3});
    for (Index step = 0; step < 4; ++step) learner.train(batch, step);
    learner.finish();

    const std::uint64_t asked = memory_stats().system_allocations;
    const Profile profile(kCpu);
    {
      const ProfilePhase phase("forward");
      learner.train(batch, 4);
    }
    CHECK_EQ(memory_stats().system_allocations, asked);
    std::vector<std::string> copies, expected = kAlways;
    for (const OpRecord& op : profile.records())
      if (std::string(op.name) == "copy")
        copies.push_back(cat(op.phase, op.module.empty() ? "" : " ", op.module, ' ', op.shapes.at(0)));
    expected.insert(expected.end(), kOfEncoder.begin(), kOfEncoder.end());
    for (const char* layer : {"0", "1"})  // factor_mlp
      for (const char* part : {"f [5, 8, 32]", "f [5, 32]", "f [5, 32, 6]", "f [5, 6]", "g [1, 32, 8]"})
        if (kind == "paramixer") expected.push_back(cat("backward encoder.layers.", layer, ".attention.", part));
    std::sort(copies.begin(), copies.end());
    std::sort(expected.begin(), expected.end());
    const auto lines = [](const std::vector<std::string>& all) {
      std::string text;
      for (const std::string& one : all) text += one + '\n';
      return text;
    };
    CHECK_EQ(lines(copies), lines(expected));
  }
}

TEST_CASE("profile: transforms and spans say how much work they are") {
  const Tensor x = full({2, 8, 4}, 0.5, kFloat32, kCpu), heads = full({2, 2, 8, 4}, 0.5, kFloat32, kCpu);
  const Tensor spans = kernels::segment_spans(8, 3, kCpu), queries = full({2, 2, 3, 4}, 0.5, kFloat32, kCpu);
  const Profile profile(kCpu);
  kernels::irfft(kernels::rfft(x, 1), 8, 1);
  kernels::circular_convolve(x, x);
  kernels::hidden_cross(x, x);
  kernels::span_pool(x, spans, kernels::SpanPool::max);
  kernels::span_attention(queries, heads, heads, spans);
  std::map<std::string, double> flops;
  for (const OpRecord& op : profile.records()) {
    flops[op.name] = op.flops;
    if (op.flops > 0) CHECK_GT(op.bytes, 0);
  }
  constexpr double kTransforms = 2 * 4 * 2.5 * 8 * 3;  // one of each channel
  CHECK_EQ(flops["rfft"], kTransforms);
  CHECK_EQ(flops["irfft"], kTransforms);
  CHECK_EQ(flops["circular_convolve"], 3 * kTransforms);
  CHECK_EQ(flops["hidden_cross"], 3 * kTransforms + 8 * 64);
  CHECK_EQ(flops["span_pool"], 64);
  CHECK_EQ(flops["span_attention"], 4 * 128);
}

TEST_CASE("train_lra --profile: a table, and a trace whose ops lie within their steps; the run computes the same") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("plain", {"--steps", "20"})).status, 0);
  const Finished finished = train(bench.args("profiled", {"--steps", "20", "--profile=6"}));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  check_same_run(bench.run("plain"), bench.run("profiled"), "step-000020.safetensors");
  CHECK_EQ(read_text(fs::path(bench.run("profiled")) / "config.toml").find("profile="), std::string::npos);
  CHECK_FALSE(fs::exists(fs::path(bench.run("plain")) / "trace.json"));
  for (const char* text : {"profile of steps 11 to 16 on cpu", "outside of kernels", "copies in a step: "})
    CHECK_NE(finished.err.find(text), std::string::npos);

  const nlohmann::json trace = nlohmann::json::parse(read_text(fs::path(bench.run("profiled")) / "trace.json"));
  constexpr double kRounding = 1e-3;  // microseconds
  Index steps = 0;
  for (const nlohmann::json& step : trace.at("traceEvents")) {
    if (step.value("cat", "") != "step") continue;
    ++steps;
    const double begin = step.at("ts"), end = begin + step.at("dur").get<double>();
    double last = begin, sum = 0;
    Index ops = 0;
    for (const nlohmann::json& op : trace.at("traceEvents")) {  // in the order of their starts
      if (!op.contains("args") || op.at("ph") != "X" || op.at("tid") != 0) continue;
      const double start = op.at("ts"), seconds = op.at("dur");
      if (start < begin || start > end) continue;
      ++ops;
      CHECK_LE(start + seconds, end + kRounding);
      if (start + kRounding < last) continue;  // inside of another
      last = start + seconds;
      sum += seconds;
    }
    CHECK_GT(ops, 20);
    CHECK_GT(sum, 0);
    CHECK_LE(sum, end - begin + kRounding);
  }
  CHECK_EQ(steps, 6);
}

TEST_CASE("train_lra --profile: of a run that ends early, with --resume, and of wrong counts") {
  const Bench bench;
  const Finished shorter = train(bench.args("run", {"--steps", "8", "--profile"}));
  CHECK_EQ(shorter.status, 0);
  CHECK_NE(shorter.err.find("profile: no step came after the first 10, which warm up"), std::string::npos);
  const Finished few = train(bench.args("few", {"--steps", "12", "--profile"}));
  CHECK_NE(few.err.find("profile of steps 11 to 12 on cpu"), std::string::npos);
  const Finished resumed = train({"--resume", bench.run("few"), "--profile"});
  CAPTURE(resumed.err);
  CHECK_EQ(resumed.status, 0);
  check_fails(bench.args("other", {"--profile=many"}), 2, "--profile");
  check_fails(bench.args("other", {"--profile=99999999"}), 2, "--profile");
}

TEST_SUITE_END();
