// bench_kernel times every op that it names, on any shape, and counts its work.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/bench/kernel/check.h"
#include "subquad/bench/kernel/growth.h"
#include "subquad/bench/kernel/measure.h"
#include "subquad/core/safetensors.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/support/subprocess.h"
#include "subquad/tests/support/temporary_folder.h"

namespace subquad::test {
namespace {

using bench::Case;

// Small values for whatever extents a case has.
bench::Settings tiny(const Case& c) {
  bench::Settings settings(c.op, c.settings);
  for (const auto& [name, value] : {std::pair{"n", "24"}, {"m", "5"}, {"k", "7"}, {"d", "8"}, {"batch", "2"}})
    if (settings.has(name)) settings.set(name, value);
  return settings;
}

const nn::Place kPlace(1, kFloat32, kCpu);

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

// Enough to measure the same again.
void check_provenance(const nlohmann::json& context) {
  for (const char* name : {"commit", "compiler", "flags", "simd", "blas", "blas_core", "cpu"}) {
    CAPTURE(name);
    REQUIRE(context[name].is_string());
    CHECK_FALSE(context[name].get<std::string>().empty());
  }
  CHECK(context["blas"].get<std::string>().starts_with("OpenBLAS "));
  CHECK(context["flags"].get<std::string>().find("-ffp-contract=off") != std::string::npos);
}

}  // namespace

TEST_SUITE("cpu") {
  TEST_CASE("bench_kernel: every op runs on a tiny shape and counts its work") {
    for (const Case& c : bench::all_cases()) {
      CAPTURE(c.op);
      bench::Runner runner(c.make(tiny(c), kPlace));
      const auto repetitions = bench::repeat(runner, {.seconds = 0, .repetitions = 1});
      CHECK(repetitions.size() == 1);
      CHECK(repetitions[0].forward.wall > 0);
      CHECK(runner.work().forward_count.flops > 0);
      CHECK(runner.work().forward_count.bytes > 0);
      CHECK((runner.work().backward_count.flops > 0) == runner.has_backward());
      CHECK(runner.has_backward() == c.has_backward);
      if (c.op != "adamw") CHECK(runner.memory().peak > 0);  // which works in place
      for (const auto& [name, tensor] : runner.results()) {
        CAPTURE(name);
        if (tensor.dtype() != kFloat32) continue;
        const Tensor values = tensor.contiguous();
        CHECK(std::all_of(values.span<float>().begin(), values.span<float>().end(),
                          [](float v) { return std::isfinite(v); }));
      }
    }
  }

  TEST_CASE("bench_kernel: results are checked against float64 before they are timed") {
    for (const Case& c : bench::all_cases()) {
      CAPTURE(c.op);
      if (c.turns_on_rounding) continue;
      CHECK(bench::check_against_float64(c, tiny(c), kPlace) < 1e-5);
    }
    for (const char* op : {"attention", "lag_column_attention", "softmax", "paramixer"}) {
      CAPTURE(op);  // of one position: gradients of scores are rounding alone
      const Case c = bench::find_case(op);
      bench::Settings one(c.op, c.settings);
      one.set("n", "1");
      CHECK(bench::check_against_float64(c, one, kPlace) < 1e-5);
    }
    const Case dropping = bench::find_case("lag_column_attention");
    bench::Settings half = tiny(dropping);
    half.set("dropout", "0.5");
    CHECK(bench::check_against_float64(dropping, half, kPlace) < 1e-5);
    Case wrong = bench::find_case("bias_gelu");
    wrong.make = [make = wrong.make](const bench::Settings& s, const nn::Place& place) {
      bench::Work work = make(s, place);
      const double factor = place.dtype() == kFloat32 ? 1.001 : 1;
      work.forward = [right = work.forward, factor] { return std::vector<Variable>{mul_scalar(right()[0], factor)}; };
      return work;
    };
    CHECK_THROWS_AS(bench::check_against_float64(wrong, tiny(wrong), kPlace), Error);
  }

  TEST_CASE("bench_kernel: counted work grows with n and with the batch") {
    for (const Case& c : bench::all_cases()) {
      CAPTURE(c.op);
      bench::Settings settings = tiny(c);
      const bench::Count small = c.make(settings, kPlace).forward_count;
      for (const char* name : {"n", "batch"}) {
        if (!settings.has(name)) continue;
        bench::Settings larger = settings;
        larger.set(name, cat(2 * settings.size(name)));
        const bench::Count count = c.make(larger, kPlace).forward_count;
        CHECK(count.flops > small.flops);
        CHECK(count.bytes > small.bytes);
      }
    }
  }

  TEST_CASE("bench_kernel: every op takes 0 positions") {
    for (const Case& c : bench::all_cases()) {
      CAPTURE(c.op);
      bench::Settings none = tiny(c);
      if (!none.has("n")) continue;
      none.set("n", "0");
      bench::Runner runner(c.make(none, kPlace));
      CHECK_NOTHROW(runner.run());
      for (const bench::Count& count : {runner.work().forward_count, runner.work().backward_count}) {
        CHECK(std::isfinite(count.flops));
        CHECK(std::isfinite(count.bytes));
      }
    }
  }

  TEST_CASE("bench_kernel: fsat without lags, whose window may be -1") {
    const Case c = bench::find_case("fsat");
    bench::Settings columns = tiny(c);
    for (const auto& [name, value] : {std::pair{"lags", "0"}, {"window", "-1"}}) columns.set(name, value);
    CHECK_NOTHROW(bench::Runner(c.make(columns, kPlace)).run());
    columns.set("window", "-2");
    CHECK_THROWS_WITH_AS(c.make(columns, kPlace), "fsat: --window is '-2', expected a whole number of -1 or more",
                         Error);
  }

  TEST_CASE("bench_kernel: every attention has a case") {
    for (const std::string& kind : nn::attention_kinds()) CHECK_NOTHROW(bench::find_case(kind));
  }

  TEST_CASE("bench_kernel: a run gives back what it took") {
    const Case c = bench::find_case("softmax");
    bench::Runner runner(c.make(tiny(c), kPlace));
    runner.run();
    const auto first = runner.memory(), second = runner.memory();
    CHECK(first.inputs == second.inputs);
    CHECK(first.peak == second.peak);
    CHECK(first.forward < first.peak);
  }

  TEST_CASE("bench_kernel: exponents are those of the powers that made the points") {
    std::vector<bench::Point> points;
    for (const double n : {16.0, 32.0, 64.0, 128.0})
      points.push_back({.n = n, .seconds = 3 * n * n, .flops = std::pow(n, 1.5), .allocated = 7 * n, .bytes = n});
    const bench::Growth growth = bench::fit(points);
    CHECK(growth.seconds == doctest::Approx(2));
    CHECK(growth.flops == doctest::Approx(1.5));
    CHECK(growth.allocated == doctest::Approx(1));
    CHECK_FALSE(growth.time_met());
    CHECK(growth.memory_met());
  }

  TEST_CASE("bench_kernel: one JSON line per measurement") {
    const Finished run =
        run_program("bench_kernel", {"attention", "--n", "16", "--d", "8", "--batch", "1", "--seconds", "0"});
    REQUIRE_MESSAGE(run.status == 0, run.err);
    REQUIRE(lines(run.out).size() == 1);
    const auto json = nlohmann::json::parse(run.out);
    CHECK(json["op"] == "attention");
    CHECK(json["shape"]["n"] == "16");
    CHECK(json["threads"] == 1);
    CHECK(json["reps"] >= 5);
    CHECK(json["forward"]["flops"] == 4 * 16 * 16 * 8);
    CHECK(json["backward"]["median_ms"] > 0);
    CHECK(json["memory"]["peak"] > 0);
    check_provenance(json);
  }

#ifdef SUBQUAD_GOOGLE_BENCHMARK
  TEST_CASE("bench_primitives: five runs at least, and what they were measured with") {
    const Finished run = run_program(
        "bench_primitives",
        {"--benchmark_filter=^gumbel_noise/n:1024/", "--benchmark_format=json", "--cold", "--benchmark_min_time=0"});
    REQUIRE_MESSAGE(run.status == 0, run.err);
    const auto json = nlohmann::json::parse(run.out);
    CHECK(json["benchmarks"][0]["reps"] >= 5);
    check_provenance(json["context"]);
  }
#endif

  TEST_CASE("bench_kernel: --growth prints exponents of time and bytes beside the counted ones") {
    const Finished run =
        run_program("bench_kernel", {"linear", "--growth", "--from", "64", "--to", "256", "--seconds", "0"});
    REQUIRE_MESSAGE(run.status == 0, run.err);
    REQUIRE(lines(run.out).size() == 4);  // three n and the fit
    const auto growth = nlohmann::json::parse(lines(run.out).back())["growth"];
    CHECK(growth["flops"] == doctest::Approx(1));
    for (const char* name : {"time", "allocated", "bytes"}) CHECK(growth[name].is_number());
    const Finished variant = run_program("bench_kernel", {"combiner", "--pattern", "logsparse", "--batch", "1",
                                                          "--growth", "--from", "16", "--to", "32", "--seconds", "0"});
    REQUIRE_MESSAGE(variant.status == 0, variant.err);
    const auto fitted = nlohmann::json::parse(lines(variant.out).back());
    CHECK(fitted["op"] == "combiner");
    CHECK(fitted["shape"]["pattern"] == "logsparse");
    CHECK(fitted["shape"]["batch"] == "1");
    CHECK_FALSE(fitted["shape"].contains("n"));
    CHECK(variant.err.find("\ncombiner --batch 1 --pattern logsparse, n = 16 ... 32: time n^") != std::string::npos);
  }

  TEST_CASE("bench_kernel: --dump and --turns serve a peer") {
    const TemporaryFolder folder;
    const std::string file = (folder / "case.safetensors").string();
    const Finished run = run_program("bench_kernel", {"matmul", "--m", "3", "--n", "4", "--k", "5", "--dump", file});
    REQUIRE_MESSAGE(run.status == 0, run.err);
    CHECK(run.out.empty());
    const SafetensorsFile dumped = read_safetensors(file);
    CHECK(dumped.metadata.at("op") == "matmul");
    for (const char* name : {"a", "b", "out", "upstream", "grad.a", "grad.b"}) CHECK(dumped.tensors.contains(name));
    CHECK(dumped.tensors.at("grad.b").shape() == Shape{1, 5, 4});

    const auto turns = [&](const std::string& asked) {
      const std::string answers = (folder / "answers").string();
      const int status = std::system(
          cat("printf '", asked, "' | '" SUBQUAD_BIN_DIR "/bench_kernel' matmul --m 3 --turns > '", answers, "' 2>&1")
              .c_str());
      return std::pair(WEXITSTATUS(status), read_text(answers));
    };
    const auto [status, answers] = turns("\\n3\\n");
    CHECK(status == 0);
    REQUIRE(lines(answers).size() == 2);
    for (const std::string& answer : lines(answers)) {
      const auto time = nlohmann::json::parse(answer);
      CHECK(time.at("forward").get<double>() > 0);
      CHECK(time.at("backward").get<double>() > 0);
    }
    for (const char* count : {"0", "two", "3x"})
      CHECK(turns(cat(count, "\\n")) ==
            std::pair(1, cat("bench_kernel: --turns: '", count, "' is not a count of runs\n")));
  }

  TEST_CASE("bench_kernel: what is wrong is said, and the status is not 0") {
    const Finished unknown = run_program("bench_kernel", {"chord"});
    CHECK(unknown.status != 0);
    for (const Case& c : bench::all_cases()) CHECK(unknown.err.find(c.op) != std::string::npos);
    const Finished nothing = run_program("bench_kernel", {});
    CHECK(nothing.status != 0);
    CHECK(nothing.err.find("there are matmul") != std::string::npos);
    CHECK(run_program("bench_kernel", {"matmul", "--heads", "2"}).status != 0);
    const Finished text = run_program("bench_kernel", {"matmul", "--n", "four"});
    CHECK(text.status == 1);
    CHECK(text.err == "bench_kernel: matmul: --n is 'four', expected a whole number of 0 or more\n");
    for (const std::string number : {"half", "-1", "nan"})
      CHECK(run_program("bench_kernel", {"lag_column_attention", "--dropout", number}).err ==
            cat("bench_kernel: lag_column_attention: --dropout is '", number, "', expected a number of 0 or more\n"));
    const Finished heads = run_program("bench_kernel", {"attention", "--d", "8", "--heads", "3"});
    CHECK(heads.err == "bench_kernel: attention: --d 8 does not divide by --heads 3\n");
    CHECK(run_program("bench_kernel", {"--n", "4", "nystrom"}).err ==
          "bench_kernel: the op comes first: bench_kernel nystrom --n ...\n");
    const auto refused = [](std::vector<std::string> args, const std::string& words) {
      args.insert(args.begin(), "linear");
      const Finished finished = run_program("bench_kernel", args);
      CAPTURE(finished.err);
      CHECK(finished.status != 0);
      CHECK(finished.err.find(words) != std::string::npos);
      CHECK(finished.err.size() < 200);
    };
    for (const char* threads : {"0", "-1", "100000"}) refused({"--threads", threads}, "not in range");
    for (const char* from : {"0", "-8"}) refused({"--growth", "--from", from}, "not in range");
    refused({"--repetitions", "-5"}, "not in range");
    refused({"--seconds", "-1"}, "not in range");
    refused({"--growth", "--n", "77"}, "excludes");
    refused({"--from", "64"}, "--from requires --growth");
  }

  TEST_CASE("compare.sh: what it cannot measure ends it, with a word and a status") {
    const TemporaryFolder folder;
    const auto compare = [&](const std::string& bin, const std::string& arguments) {
      const std::string command =
          cat("bash '" SUBQUAD_SOURCE_DIR "/bench/compare.sh' --out '", (folder / "out").string(), "' --bin '", bin,
              "' ", arguments, " > '", (folder / "text").string(), "' 2>&1");
      const int status = std::system(command.c_str());
      return std::pair(WEXITSTATUS(status), read_text(folder / "text"));
    };
    using Result = std::pair<int, std::string>;
    CHECK(compare("/nope", "--only growth") == Result{2, "compare: --bin /nope: there is no such program\n"});
    const auto [status, text] = compare(SUBQUAD_BIN_DIR "/bench_kernel", "--only growth --rows nosuchop");
    CHECK(status == 1);
    CHECK(text == "compare: no row matches 'nosuchop'\n");
    const std::string lists = (folder / "lists").string();  // but measures nothing
    write_text(lists, "#!/bin/sh\n[ \"$1\" = --list ] && echo nystrom: && exit\necho out of memory >&2\nexit 1\n");
    std::filesystem::permissions(lists, std::filesystem::perms::owner_all);
    for (const char* part : {"--only growth", "--only memory"}) {
      const auto [failed, words] = compare(lists, part);
      CHECK(failed == 1);
      CHECK(words.find("out of memory") != std::string::npos);
    }
    write_text(
        lists,
        "#!/bin/sh\n[ \"$1\" = --list ] && printf 'matmul:\\nsoftmax:\\nnystrom:\\n' && exit\necho \"$@\" >&2\n");
    const auto [grown, rows] = compare(lists, "--only growth");
    CHECK(grown == 0);  // quadratic: not to 2^17
    CHECK(rows.find("softmax --growth --batch 1 --to 8192 ") != std::string::npos);
    CHECK(rows.find("nystrom --growth --batch 1 --to 131072 ") != std::string::npos);
    CHECK(rows.find("matmul --growth") == std::string::npos);
    write_text(lists,
               "#!/bin/sh\n[ \"$1\" = --list ] && printf 'paramixer:\\ncombiner:\\n' && exit\necho \"$@\" >&2\n");
    const std::string variants = compare(lists, "--only growth").second;
    for (const char* pattern : {"logsparse", "vertical", "horizontal", "mixture", "average", "rowmajor"})
      CHECK(variants.find(cat("combiner --pattern ", pattern, " --growth ")) != std::string::npos);
    for (const char* row : {"combiner", "combiner --causal true", "paramixer --protocol cdil",
                            "paramixer --protocol butterfly", "paramixer"})
      CHECK(variants.find(cat(row, " --growth --batch 1 --to 131072 ")) != std::string::npos);
    const std::string one = compare(lists, "--only growth --rows 'pattern average'").second;
    CHECK(one.find("combiner --pattern average --growth") == 0);
    CHECK(one.find("logsparse") == std::string::npos);
  }
}  // TEST_SUITE

}  // namespace subquad::test
