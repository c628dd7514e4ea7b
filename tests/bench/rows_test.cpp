// The table of sizes and the floors that times are judged by.
#include "subquad/bench/kernel/rows.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "subquad/bench/kernel/case.h"
#include "subquad/bench/roofs/roofs.h"
#include "subquad/core/error.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::bench;

TEST_CASE("rows: each names an op and settings that it has, and stands there once") {
  std::set<std::string> titles;
  for (const Row& row : rows()) {
    CAPTURE(row.title());
    const Case c = find_case(row.op);
    Settings settings(c.op, c.settings);
    row.apply(settings);
    for (const auto& [name, value] : row.settings) CHECK_EQ(settings.text(name), value);
    const std::vector<std::string> known = families();
    CHECK(std::find(known.begin(), known.end(), row.family) != known.end());
    CHECK(titles.insert(row.title()).second);
  }
}

TEST_CASE("rows: every op of bench_kernel is timed") {
  std::set<std::string> timed;
  for (const Row& row : rows()) timed.insert(row.op);
  for (const Case& c : all_cases()) {
    CAPTURE(c.op);
    CHECK(timed.contains(c.op));
  }
}

TEST_CASE("rows: every op has its peers, or says that it has none") {
  const std::filesystem::path peers = std::filesystem::path(SUBQUAD_SOURCE_DIR) / "bench" / "peers";
  const std::string primitives = test::read_text(peers / "primitives.py") + test::read_text(peers / "fourier.py");
  for (const Row& row : rows()) {
    CAPTURE(row.op);
    const std::string entry = cat('"', row.op, '"');
    const bool primitive = primitives.find(entry) != std::string::npos;
    CHECK((primitive || std::filesystem::exists(peers / (row.op.substr(0, row.op.find('_')) + ".py"))));
  }
}

TEST_CASE("rows: every step is timed as ListOps has it, too") {
  std::set<std::string> steps, listops;
  for (const Row& row : rows()) {
    if (row.family != "training") continue;
    const Case c = find_case(row.op);
    Settings settings(c.op, c.settings);
    row.apply(settings);
    steps.insert(row.op);
    if (settings.text("batch") != "32") continue;
    CHECK_EQ(settings.text("n"), "2048");
    CHECK_EQ(row.length, 2048);
    listops.insert(row.op);
  }
  CHECK(steps == listops);
}

namespace {

const Roofs kRoofs = {.flops_per_second = 100e9,
                      .levels = {{"L2", 1 << 20, 50e9}, {"L3", 8 << 20, 20e9}, {"memory", SIZE_MAX, 10e9}}};

}  // namespace

TEST_CASE("roofs: a pass takes as long as the slowest of its products, its bytes and what it reads again") {
  const Floor products = floor_of({.flops = 1e9, .bytes = 1e6}, kRoofs);
  CHECK_EQ(products.seconds, doctest::Approx(0.01));
  CHECK_EQ(products.by, "products");

  const Floor near = floor_of({.flops = 1e3, .bytes = 1e6}, kRoofs);
  CHECK_EQ(near.seconds, doctest::Approx(1e6 / 50e9));
  CHECK_EQ(near.by, "L2");
  CHECK_EQ(floor_of({.flops = 1e3, .bytes = 4e6}, kRoofs).by, "L3");
  const Floor far = floor_of({.flops = 1e3, .bytes = 1e9}, kRoofs);
  CHECK_EQ(far.seconds, doctest::Approx(0.1));
  CHECK_EQ(far.by, "memory");

  const Floor again = floor_of({.flops = 1e3, .bytes = 4e6, .again = 5e9}, kRoofs);
  CHECK_EQ(again.seconds, doctest::Approx(0.1));
  CHECK_EQ(again.by, "L2");
}

TEST_CASE("roofs: floors of parts add up, each at its own roof") {
  Work work;
  work.parts = {{"product", {.flops = 1e9, .bytes = 1e6}, {.flops = 2e9, .bytes = 1e6}},
                {"copy", {.flops = 0, .bytes = 1e9}, {.flops = 0, .bytes = 2e9}}};
  CHECK_EQ(forward_floor(work, kRoofs).seconds, doctest::Approx(0.01 + 0.1));
  CHECK_EQ(backward_floor(work, kRoofs).seconds, doctest::Approx(0.02 + 0.2));
}

TEST_CASE("roofs: this machine's are what a computer can have") {
  const Roofs roofs = measure_roofs();
  CHECK_GT(roofs.flops_per_second, 1e8);
  REQUIRE_EQ(roofs.levels.size(), 3);
  for (const Level& level : roofs.levels) {
    CAPTURE(level.name);
    CHECK_GT(level.bytes_per_second, 1e8);
    CHECK_LT(level.bytes_per_second, 1e13);
  }
  CHECK_LE(roofs.levels[0].size, roofs.levels[1].size);
  CHECK_EQ(roofs.level_of(1e15).name, "memory");
}
