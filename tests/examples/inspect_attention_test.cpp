// inspect_attention as it is called: with a trained run, and with what it cannot do.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "subquad/core/safetensors.h"
#include "subquad/tests/examples/looked_page.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::test::inspected;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::run_program;
using subquad::test::train_lra::Bench;

namespace {

void check_refused(const Args& args, int status, const std::string& text) {
  const Finished finished = run_program("inspect_attention", args);
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, status);
  CHECK_EQ(finished.out, "");
  CHECK_NE(finished.err.find(text), std::string::npos);
  CHECK_EQ(std::ranges::count(finished.err, '\n'), 1);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("inspect_attention: a run's page, and what it cannot do") {
  const Bench bench;
  const std::string run = bench.run("run"), page = bench.run("page.html"), matrices = bench.run("m.safetensors");
  Args training = bench.args("run", {"--steps", "4", "--evaluate-every", "2"});
  REQUIRE_EQ(test::train_lra::train(training).status, 0);
  const Finished finished =
      run_program("inspect_attention", {run, "[MAX 2 9 ]", "--out", page, "--matrices", matrices});
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  const Json data = data_of(read_text(page));
  CHECK_NE(data.at("facts").dump().find("checkpoint best, step"), std::string::npos);
  CHECK_EQ(data.at("answer").at("asked"), "[MAX 2 9 ]");
  const Finished predicted = run_program("predict_lra", {run, "[MAX 2 9 ]", "--json"});
  const Json classes = Json::parse(predicted.out).at("answers")[0].at("classes");
  CHECK_EQ(data.at("answer").at("classes")[0].at("name"), classes[0].at("name"));
  CHECK_EQ(data.at("answer").at("classes")[0].at("probability").get<double>(),
           doctest::Approx(classes[0].at("probability").get<double>()));
  const SafetensorsFile exact = read_safetensors(matrices);
  const Json& groups = data.at("layers")[0].at("heads")[0].at("sections")[0].at("parts")[0].at("groups")[0];
  check_picture(data.at("pictures")[groups[0].get<std::size_t>()], exact.tensors.at("layer1.mixing").select(0, 0));

  check_refused({}, 2, "expected the folder of a run, or --task and --attention for a fresh model");
  check_refused({run}, 2, "expected an expression such as");
  check_refused({run, "[MAX 2 x ]"}, 1, "\"[MAX 2 x ]\": token 3");
  check_refused({run, "1", "2"}, 2, "one input at a time");
  check_refused({run, "7", "--landmarks", "5"}, 2, "has a task and a model of its own");
  check_refused({run, "7", "--checkpoint", "last.bin"}, 1, "there is no such file");
  check_refused({bench.run("none"), "7"}, 2, "is no folder of a run");
  check_refused({"--attention", "nystrm", "7"}, 2, "available: ");
  check_refused({"--attention", "softmax", "--landmarks", "5", "7"}, 2, "--landmarks 5 belongs to --attention nystrom");
  check_refused({"--attention", "softmax", "--layers", "0", "7"}, 1, "the model has no attention");
  check_refused({"--attention", "softmax", "--of-pair", "2", "7"}, 2, "--task listops is not about pairs");
  check_refused({"--attention", "softmax", "--max-length", "3", "[MAX 1 2 ]"}, 1, "the model takes at most 3");
  check_refused({"--attention", "softmax", "7", "--out", bench.run("none/x.html")}, 1, "none/x.html");
  const std::string same = bench.run("same");
  const Args softmax = {"--attention", "softmax", "--max-length", "8"};
  const auto asked = [&](const Args& more) {
    Args all = softmax;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  check_refused(asked({"7", "--matrices", same, "--out", same}), 2, "--out and --matrices are the same file");
  check_refused(asked({"7", "--matrices", same, "--out", bench.run("./same")}), 2, "are the same file");
  CHECK_FALSE(std::filesystem::exists(same));
  std::ofstream(same) << "7";
  std::filesystem::create_symlink(same, bench.run("link"));
  check_refused(asked({"--file", same, "--out", bench.run("link")}), 2, "--out would replace the input --file");
  check_refused(asked({"--file", same, "--out", page, "--matrices", same}), 2, "--matrices would replace the input");
  CHECK_EQ(read_text(same), "7");
  check_refused({"--attention", "softmax", "--memory", "1e-6", "[MAX 1 2 ]"}, 1,
                "4 positions: the matrices of 2 layers of 2 heads need about ");
  check_refused({"--attention", "paramixer", "--memory", "1e-9", "--layers", "1", "7"}, 1,
                "(--memory); a shorter input");
  check_refused({"--attention", "softmax", "7", "--ot", "x"}, 2, "the nearest is --out");
}

TEST_SUITE_END();
