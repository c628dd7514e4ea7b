// inspect_attention: files keep to their size: blocks of entries, and curves in pieces.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "subquad/examples/inspect/curves.h"
#include "subquad/tests/examples/looked_page.h"

using namespace subquad;
using namespace subquad::test::inspected;

TEST_SUITE_BEGIN("cpu");

TEST_CASE("inspect page: a file keeps to its size, down to blocks of everything") {
  Subject subject = fresh({"--attention", "nystrom", "--landmarks", "4"});
  for (const double megabytes : {15.0, 0.2, 0.1}) {
    const auto [html, keeps_limit, shares] =
        finished_page(page_data(subject), static_cast<std::size_t>(1e6 * megabytes));
    CHECK(keeps_limit);
    CHECK(shares.empty());
    CHECK_LE(static_cast<double>(html.size()), 1e6 * megabytes);
  }
}

TEST_CASE("inspect page: a file that cannot keep to its size says so, and still shows something") {
  Subject subject = fresh({"--attention", "nystrom", "--landmarks", "4"});
  const auto [html, keeps_limit, shares] = finished_page(page_data(subject), 1000);
  CHECK_FALSE(keeps_limit);
  const Json data = data_of(html);
  CHECK_NE(data.at("facts").dump().find("is larger than the 1 kB that were asked for"), std::string::npos);
  const Json& rows = data.at("pictures")[0].at("rows");
  CHECK_GT(rows.at("count").get<Index>(), 4 * rows.at("block").get<Index>());
}

TEST_CASE("inspect page: of a file that is too large it is said what takes how much, and which size would do") {
  Subject subject = fresh({"--attention", "nystrom", "--landmarks", "4", "--layers", "3", "--heads", "4"});
  const FinishedPage page = finished_page(page_data(subject), 100'000);
  REQUIRE_FALSE(page.keeps_limit);
  std::size_t sum = 0, last = page.html.size();
  for (const auto& share : page.shares) {
    CAPTURE(share.of);
    CHECK_LE(share.bytes(), last);
    sum += last = share.bytes();
    CHECK_EQ(share.pictures > 0, share.of.starts_with("layer "));
  }
  CHECK_EQ(page.shares.size(), 5);
  CHECK_EQ(static_cast<double>(sum), doctest::Approx(static_cast<double>(page.html.size())).epsilon(.02));
  const std::string said = over_limit_text(page, .1, true);
  CAPTURE(said);
  CHECK(said.starts_with("more than --megabytes 0.1, although"));
  CHECK_NE(said.find("layer 3 "), std::string::npos);
  CHECK_NE(said.find("the page's program and style "), std::string::npos);
  CHECK_NE(said.find("fewer --layers or --heads"), std::string::npos);
  CHECK_EQ(over_limit_text(page, .1, false).find("--layers"), std::string::npos);
  const std::size_t option = said.find("; --megabytes ") + 14;
  CHECK(finished_page(page_data(subject), static_cast<std::size_t>(1e6 * std::stod(said.substr(option)))).keeps_limit);
}

TEST_CASE("inspect page: long curves are means, least and largest values of pieces") {
  Line long_line{"x", {}};
  for (int i = 0; i < 1003; ++i) long_line.points.push_back({i + 1.0, std::sin(i) * (i % 100 == 7 ? 5 : 1)});
  const auto mean_of = [&](std::size_t begin, std::size_t end) {
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += long_line.points[i][1];
    return sum / static_cast<double>(end - begin);
  };
  const Json even = curve_record(long_line, false);
  const std::size_t step = even.at("step").get<std::size_t>();
  CHECK_EQ(step, 5);
  CHECK_EQ(even.at("last"), 1003);
  REQUIRE_EQ(even.at("values").size(), 201);
  for (std::size_t k = 0; k < 201; ++k) {
    const std::size_t begin = k * step, end = std::min<std::size_t>(begin + step, 1003);
    double least = 1e9, largest = -1e9;
    for (std::size_t i = begin; i < end; ++i) {
      least = std::min(least, long_line.points[i][1]);
      largest = std::max(largest, long_line.points[i][1]);
    }
    CHECK_EQ(even.at("values")[k].get<double>(), doctest::Approx(mean_of(begin, end)).epsilon(1e-3));
    CHECK_EQ(even.at("least")[k].get<double>(), doctest::Approx(least).epsilon(1e-3));
    CHECK_EQ(even.at("largest")[k].get<double>(), doctest::Approx(largest).epsilon(1e-3));
  }

  const Json far = curve_record(long_line, true);
  const std::vector<std::size_t> starts = far.at("starts").get<std::vector<std::size_t>>();
  CHECK_LE(starts.size(), 250);
  CHECK_EQ(std::vector(starts.begin(), starts.begin() + 3), std::vector<std::size_t>{1, 2, 3});
  for (std::size_t k = 0; k < starts.size(); ++k) {
    const std::size_t end = k + 1 < starts.size() ? starts[k + 1] : 1004;
    CHECK_EQ(far.at("values")[k].get<double>(), doctest::Approx(mean_of(starts[k] - 1, end - 1)).epsilon(1e-3));
  }

  Json page = {{"parts", {{{"lines", {even, far, curve_record({"few", {{0, 1}, {1, 2.5}}}, false)}}}}}};
  shorten_curves(page, 100);
  const Json& lines = page.at("parts")[0].at("lines");
  for (const std::size_t i : {0, 1}) {
    CHECK_LE(lines[i].at("values").size(), 50);
    const auto largest = lines[i].at("largest").get<std::vector<double>>();
    CHECK_EQ(std::ranges::max(largest),
             doctest::Approx(std::ranges::max(even.at("largest").get<std::vector<double>>())));
  }
  CHECK_EQ(lines[0].at("values")[0].get<double>(),
           doctest::Approx(mean_of(0, lines[0].at("step").get<std::size_t>())).epsilon(2e-3));
  CHECK_EQ(lines[2], Json({{"name", "few"}, {"first", 0}, {"values", {1, 2.5}}}));
}

TEST_SUITE_END();
