// What a Profile says of ops, some of them made up here, so that time, tensors and nesting are known.
#include "subquad/core/profile.h"

#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "subquad/core/graph.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using test::device;

// An op named `op` that runs `work`. On the CPU only: this file is compiled without CUDA.
template <class F>
void run_op(const char* op, F&& work, Flops flops = {}) {
  on_device(
      device(), [&](auto) { work(); }, [&](auto) { work(); }, flops, op);
}

void sleep_milliseconds(int count) {
  std::this_thread::sleep_for(std::chrono::milliseconds(count));
}

TEST_CASE("profile: names, phases and modules of ops, in their order, and nothing before or after" *
          doctest::test_suite("cpu")) {
  const std::string module = "encoder.0";
  Tensor x = zeros({4}, kFloat32, device());
  {
    const Profile profile(device());
    fill(x, 1);
    {
      const ProfilePhase phase("backward", module);
      const Tensor y = x.clone();
      run_op(
          "outer", [&] { fill(x, 2); }, Flops{12});
    }
    on_device(
        device(), [](auto) {}, [](auto) {}, nullptr);  // no op
    const std::vector<OpRecord> ops = profile.records();
    REQUIRE_EQ(ops.size(), 4);
    CHECK_EQ(profile.records().size(), 4);
    const auto is = [&](std::size_t i, const char* name, const char* phase, const std::string& in, int depth) {
      CAPTURE(i);
      CHECK_EQ(std::string(ops[i].name), name);
      CHECK_EQ(std::string(ops[i].phase), phase);
      CHECK_EQ(ops[i].module, in);
      CHECK_EQ(ops[i].depth, depth);
      CHECK_EQ(ops[i].thread, 0);
      CHECK_GE(ops[i].own_seconds, 0);
      CHECK_LE(ops[i].own_seconds, ops[i].seconds);
    };
    is(0, "fill", "", "", 0);
    is(1, "copy", "backward", module, 0);
    is(2, "outer", "backward", module, 0);
    is(3, "fill", "backward", module, 1);
    CHECK_EQ(ops[2].flops, 12);
    CHECK_EQ(ops[0].flops, 0);
  }
  fill(x, 3);
  const Profile next(device());
  CHECK(next.records().empty());
}

TEST_CASE("profile: bytes of the tensors that an op asks for, each element once" * doctest::test_suite("cpu")) {
  const Tensor x = zeros({6, 10}, kFloat32, device()), row = zeros({10}, kFloat64, device());
  const auto bytes = [&](auto&& touch) {
    const Profile profile(device());
    run_op("op", touch);
    return profile.records().at(0).bytes;
  };
  CHECK_EQ(bytes([] {}), 0);
  CHECK_EQ(bytes([&] { x.bytes(); }), 240);
  CHECK_EQ(bytes([&] {
             x.bytes();
             x.data<float>();
             row.bytes();
           }),
           320);
  CHECK_EQ(bytes([&] { x.slice(0, 1, 3).bytes(); }), 80);
  CHECK_EQ(bytes([&] {
             x.bytes();
             x.slice(0, 1, 3).bytes();
           }),
           240);
  CHECK_EQ(bytes([&] {
             x.slice(0, 1, 3).bytes();
             x.slice(0, 3, 4).bytes();
             x.bytes();
           }),
           240);
  CHECK_EQ(bytes([&] { x.slice(1, 0, 5).bytes(); }), 120);                 // every other run of five
  CHECK_EQ(bytes([&] { row.expand({100, 10}).bytes(); }), 80);             // the same row again and again
  CHECK_EQ(bytes([&] { zeros({0, 3}, kFloat32, device()).bytes(); }), 0);  // no element
  const Profile profile(device());
  const Tensor copied = x.clone();
  const std::vector<OpRecord> ops = profile.records();
  CHECK_EQ(ops.at(0).bytes, 480);
  REQUIRE_EQ(ops.at(0).shapes.size(), 2);
  CHECK_EQ(ops.at(0).shapes[0], x.shape());
}

TEST_CASE("profile: there is one at a time") {
  const Profile profile(device());
  CHECK_THROWS_WITH_AS(Profile{device()}, "Profile: another one lives", Error);
}

TEST_CASE("profile: an op that fails leaves the next ones as they are" * doctest::test_suite("cpu")) {
  const Profile profile(device());
  CHECK_THROWS_AS(run_op("outer", [] { run_op("inner", [] { throw Error("no"); }); }), Error);
  run_op("next", [] {});
  const std::vector<OpRecord> ops = profile.records();
  REQUIRE_FALSE(ops.empty());
  CHECK_EQ(std::string(ops.back().name), "next");
  CHECK_EQ(ops.back().depth, 0);
}

TEST_SUITE("cuda") {
  TEST_CASE("profile: a graph's replay is one op, what was recorded is none") {
    Tensor x = zeros({4}, kFloat32, device());
    const Profile profile(device());
    Graph graph = Graph::capture(device(), [&] { fill(x, 1); });
    CHECK(profile.records().empty());
    graph.replay();
    REQUIRE_EQ(profile.records().size(), 1);
    CHECK_EQ(std::string(profile.records()[0].name), "graph");
  }
}

TEST_SUITE("cpu") {
  TEST_CASE("profile: an op's own time leaves out the ops inside") {
    const Profile profile(kCpu);
    run_op("outer", [] {
      sleep_milliseconds(4);
      run_op("inner", [] { sleep_milliseconds(8); });
      run_op("inner", [] { sleep_milliseconds(8); });
    });
    const double all = profile.seconds();
    const std::vector<OpRecord> ops = profile.records();
    REQUIRE_EQ(ops.size(), 3);
    CHECK_EQ(std::string(ops[0].name), "outer");
    CHECK_GE(ops[0].seconds, 0.02);
    CHECK_LE(ops[0].seconds, all);
    CHECK_GE(ops[0].own_seconds, 0.004);
    CHECK_GE(ops[1].own_seconds, 0.008);
    const double own = ops[0].own_seconds + ops[1].own_seconds + ops[2].own_seconds;
    CHECK_LE(std::abs(own - ops[0].seconds), 1e-9);
    CHECK_LE(ops[0].start, ops[1].start);
    CHECK_LE(ops[1].start + ops[1].seconds, ops[2].start);
    CHECK_LE(ops[2].start + ops[2].seconds, ops[0].start + ops[0].seconds + 1e-9);
  }

  TEST_CASE("profile: threads have numbers of their own, and phases of their own") {
    const Profile profile(kCpu);
    const ProfilePhase phase("forward");
    std::thread([] { run_op("beside", [] {}); }).join();
    run_op("here", [] {});
    const std::vector<OpRecord> ops = profile.records();
    REQUIRE_EQ(ops.size(), 2);
    CHECK_EQ(std::string(ops[0].name), "here");
    CHECK_EQ(std::string(ops[0].phase), "forward");
    CHECK_EQ(ops[1].thread, 1);
    CHECK_EQ(std::string(ops[1].phase), "");
  }
}

}  // namespace
}  // namespace subquad
