#include "subquad/nn/schedule.h"

#include <cmath>

#include "subquad/tests/support/compare.h"

namespace subquad::nn {
namespace {

struct Row {
  Index step;
  double rate;
};

void check_table(const Schedule& schedule, std::initializer_list<Row> table) {
  for (const Row& row : table) {
    CAPTURE(schedule_name(schedule.kind));
    CAPTURE(row.step);
    CHECK(std::fabs(schedule.at(row.step) - row.rate) <= 1e-15 * std::max(1.0, schedule.rate));
  }
}

TEST_SUITE("cpu") {  // arithmetic on the host
  TEST_CASE("constant schedule") {
    check_table({.rate = 0.5}, {{0, 0.5}, {1, 0.5}, {1000000, 0.5}});
    check_table({.rate = 0.5, .warmup = 4}, {{0, 0}, {1, 0.125}, {2, 0.25}, {3, 0.375}, {4, 0.5}, {5, 0.5}});
  }

  TEST_CASE("linear schedule") {
    const Schedule s{.kind = ScheduleKind::linear, .rate = 2, .warmup = 4, .total = 12};
    check_table(s, {{0, 0}, {1, 0.5}, {3, 1.5}, {4, 2}, {5, 1.75}, {8, 1}, {11, 0.25}, {12, 0}, {100, 0}});
    check_table({.kind = ScheduleKind::linear, .rate = 1, .total = 4}, {{0, 1}, {1, 0.75}, {3, 0.25}, {4, 0}});
  }

  TEST_CASE("cosine schedule") {
    const Schedule to_the_end{.kind = ScheduleKind::cosine, .rate = 1, .warmup = 2, .total = 10};
    check_table(to_the_end, {{0, 0},
                             {1, 0.5},
                             {2, 1},
                             {4, 0.8535533905932737},  // (1 + cos(pi/4)) / 2
                             {6, 0.5},
                             {8, 0.1464466094067262},  // (1 - cos(pi/4)) / 2
                             {10, 0},
                             {50, 0}});
    // Long Range Arena's code lets the cosine last as long as the whole run and cuts it off at the end.
    const Schedule published{.kind = ScheduleKind::cosine, .rate = 1, .warmup = 2, .total = 10, .cycle = 10};
    check_table(published, {{2, 1}, {7, 0.5}, {10, 0.09549150281252627}});  // (1 + cos(0.8 pi)) / 2
  }

  TEST_CASE("inverse_sqrt schedule") {
    // Long Range Arena's ListOps: 0.05 min(1, i/1000) / sqrt(max(i, 1000)).
    const Schedule s{.kind = ScheduleKind::inverse_sqrt, .rate = 0.05 / std::sqrt(1000), .warmup = 1000};
    check_table(s, {{0, 0},
                    {500, 0.0007905694150420949},
                    {1000, 0.0015811388300841897},
                    {4000, 0.0007905694150420949},
                    {5000, 0.0007071067811865475}});
    check_table({.kind = ScheduleKind::inverse_sqrt, .rate = 1}, {{0, 1}, {1, 1}, {4, 0.5}, {100, 0.1}});
  }

  TEST_CASE("one_cycle schedule") {
    // The ListOps run of the Nystromformer code: peak 1e-4, 1000 of 5000 steps up.
    const Schedule s{.kind = ScheduleKind::one_cycle, .rate = 1e-4, .warmup = 1000, .total = 5000};
    const auto close = [](double got, double want) { return std::fabs(got - want) <= 1e-12 * std::fabs(want); };
    CHECK(close(s.at(0), 4e-6));
    CHECK(close(s.at(333), 3.6e-5));  // a third of 999 steps: 4e-6 + 9.6e-5 / 3
    CHECK(close(s.at(999), 1e-4));
    CHECK(close(s.at(2999), 5.00002e-5));  // half-way down
    CHECK(close(s.at(4999), 4e-10));
    CHECK(close(s.at(9999), 4e-10));
    CHECK(close(one_cycle_beta1(s, 0), 0.95));
    CHECK(close(one_cycle_beta1(s, 999), 0.85));
    CHECK(close(one_cycle_beta1(s, 2999), 0.9));
    CHECK(close(one_cycle_beta1(s, 4999), 0.95));
    const Schedule no_warmup{.kind = ScheduleKind::one_cycle, .rate = 1, .total = 5};
    CHECK(close(no_warmup.at(0), 1));
    CHECK(close(no_warmup.at(4), 4e-6));
  }

  TEST_CASE("a schedule that needs the steps of the run complains without them") {
    CHECK_THROWS_WITH_AS((Schedule{.kind = ScheduleKind::linear}.at(0)),
                         "schedule: linear with total 0, expected at least 1 step", Error);
    CHECK_THROWS_WITH_AS((Schedule{.kind = ScheduleKind::cosine, .warmup = 5}.at(7)),
                         "schedule: cosine with total 0, expected at least 1 step", Error);
    CHECK_THROWS_WITH_AS((Schedule{.kind = ScheduleKind::one_cycle, .total = -1}.at(0)),
                         "schedule: one_cycle with total -1, expected at least 1 step", Error);
    CHECK_THROWS_AS(one_cycle_beta1({.kind = ScheduleKind::one_cycle}, 0), Error);
    check_table({.kind = ScheduleKind::cosine, .rate = 1, .cycle = 10}, {{0, 1}, {5, 0.5}, {10, 0}});
  }

  TEST_CASE("schedules have names") {
    for (const char* name : {"constant", "linear", "cosine", "inverse_sqrt", "one_cycle"})
      CHECK(schedule_name(parse_schedule(name)) == name);
    CHECK_THROWS_WITH_AS(parse_schedule("cosin"),
                         "schedule: 'cosin', expected one of constant, linear, cosine, inverse_sqrt, one_cycle", Error);
  }
}

}  // namespace
}  // namespace subquad::nn
