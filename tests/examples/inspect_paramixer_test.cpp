// inspect_attention: a Paramixer's dense factors, products and reach, as plain loops over its weights find them.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>

#include "subquad/core/error.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/tests/examples/looked_loops.h"

using namespace subquad;
using namespace subquad::test::inspected;

namespace {

Rows identity(std::size_t n) {
  Rows made(n, Row(n));
  for (std::size_t i = 0; i < n; ++i) made[i][i] = 1;
  return made;
}

// Where link k of row i of factor m leads among n positions; nowhere beyond the last.
using Place = std::optional<std::size_t>;
using Places = std::function<Place(std::size_t m, std::size_t i, std::size_t k, std::size_t n)>;

Rows dense(const Rows& weights, std::size_t m, const Places& place) {
  const std::size_t n = weights.size();
  Rows made(n, Row(n));
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t k = 0; k < weights[i].size(); ++k)
      if (const Place to = place(m, i, k, n)) made[i][*to] += weights[i][k];
  return made;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("inspect page: a Paramixer's dense factors, their products and their reach are the loops'") {
  const auto step = [](std::size_t m) { return std::size_t{1} << m; };
  const std::vector<std::pair<Args, Places>> protocols = {
      {{"--protocol", "chord"},
       [=](std::size_t, std::size_t i, std::size_t k, std::size_t n) {
         return Place{(i + (k == 0 ? 0 : step(k - 1))) % n};
       }},
      {{"--protocol", "cdil", "--links", "3"},
       [=](std::size_t m, std::size_t i, std::size_t k, std::size_t n) {
         const std::size_t d = step(m) % n;
         return Place{(i + (k == 0 ? 0 : k == 1 ? d : n - d)) % n};
       }},
      {{"--protocol", "butterfly"}, [=](std::size_t m, std::size_t i, std::size_t k, std::size_t n) {
         const std::size_t to = k == 0 ? i : i ^ step(m);
         return to < n ? Place{to} : Place{};
       }}};
  for (const auto& [protocol, place] : protocols)
    for (const std::string residual : {"running", "none"}) {
      CAPTURE(protocol[1]);
      CAPTURE(residual);
      Args args = {"--attention", "paramixer", "--residual", residual};
      args.insert(args.end(), protocol.begin(), protocol.end());
      const Looked page(args);
      const auto& attention = dynamic_cast<const nn::Paramixer&>(*page.layer().attention);
      const Tensor weights = attention.link_weights(page.layer().in).value().select(1, 0);  // [M, N, L]
      const auto n = static_cast<std::size_t>(weights.dim(1));
      Rows sofar = identity(n), reached = identity(n);
      const Json& reach = page.head(0).at("sections")[2].at("parts")[0].at("charts")[0].at("lines");
      for (std::size_t m = 0; m < static_cast<std::size_t>(weights.dim(0)); ++m) {
        Rows factor = dense(rows_of(weights.select(0, static_cast<Index>(m))), m, place),
             links = dense(Rows(n, Row(static_cast<std::size_t>(weights.dim(2)), 1.0)), m, place);
        check_cells(decided(page, 0, cat("factor", m + 1)), factor);
        for (std::size_t i = 0; i < n && residual == "running"; ++i) {
          factor[i][i] += 1;
          links[i][i] += 1;
        }
        sofar = product(factor, sofar);
        reached = product(links, reached);
        check_cells(decided(page, 0, cat("product", m + 1)), sofar);
        Row counts;
        for (const Row& row : reached) counts.push_back(static_cast<double>(n) - std::ranges::count(row, 0.0));
        const double mean = std::accumulate(counts.begin(), counts.end(), 0.0) / static_cast<double>(n);
        CHECK_EQ(reach[0].at("values")[m].get<double>(), std::ranges::max(counts));
        CHECK_EQ(reach[1].at("values")[m].get<double>(), doctest::Approx(mean).epsilon(1e-3));
        CHECK_EQ(reach[2].at("values")[m].get<double>(), std::ranges::min(counts));
      }
    }
}

TEST_SUITE_END();
