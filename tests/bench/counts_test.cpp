// The counts of work beside what a loop over queries, keys and channels comes to.
#include <doctest/doctest.h>

#include <bit>
#include <set>

#include "subquad/bench/kernel/mechanisms.h"
#include "subquad/kernels/block_attention/block_attention.h"

namespace subquad::test {
namespace {

using bench::Count;
using bench::Part;
using kernels::BlockKind;
using kernels::BlockPattern;

// Tokens row by row on a grid.
struct Grid {
  Index n, columns;

  Index row(Index i) const { return i / columns; }
  Index column(Index i) const { return i % columns; }

  // Cells before, and behind, cell i on its row or column.
  Index left(Index i) const {
    return counted([&](Index j) { return row(j) == row(i) && j < i; });
  }
  Index right(Index i) const {
    return counted([&](Index j) { return row(j) == row(i) && j > i; });
  }
  Index above(Index i) const {
    return counted([&](Index j) { return column(j) == column(i) && j < i; });
  }
  Index below(Index i) const {
    return counted([&](Index j) { return column(j) == column(i) && j > i; });
  }

 private:
  template <class Seen>
  Index counted(const Seen& seen) const {
    Index sum = 0;
    for (Index j = 0; j < n; ++j) sum += seen(j) ? 1 : 0;
    return sum;
  }
};

// What query i sees, read word by word from the table of kernels/block_attention.
Index seen_by(const BlockPattern& p, Index n, Index i) {
  const Grid grid{n, p.size};
  const bool vertical = p.kind == BlockKind::vertical || p.kind == BlockKind::mixture;
  const bool horizontal = p.kind == BlockKind::horizontal || p.kind == BlockKind::mixture;
  const bool by_segment = p.kind == BlockKind::fixed || p.kind == BlockKind::rowmajor;
  Index seen = 0;
  for (Index j = 0; j < n; ++j) {  // tokens, then summaries that stand in token j's cell
    const bool own_row = grid.row(i) == grid.row(j), own_column = grid.column(i) == grid.column(j);
    if (own_row ? !p.causal || j <= i : !by_segment && own_column && (!p.causal || j < i)) ++seen;
    if (vertical && own_row && j != i) seen += (grid.above(j) > 0) + (!p.causal && grid.below(j) > 0);
    if (horizontal && own_column && j != i && (!p.causal || j < i)) seen += (grid.left(j) > 0) + (grid.right(j) > 0);
    if (p.kind == BlockKind::rowmajor && own_column && (j != i || p.own_span) && (!p.causal || j < i)) ++seen;
    if (p.kind == BlockKind::fixed && grid.column(j) == 0 && (!own_row || p.own_span) && (!p.causal || j < i) &&
        !(p.causal && own_row))
      ++seen;
  }
  return seen;
}

Index seen_in_levels(const BlockPattern& p, Index n, Index i) {
  Index seen = 1;
  for (int level = 0; Index{1} << level < n; ++level) {  // level 0: the token i XOR 1
    const Index block = (i >> level) ^ 1;
    if (block << level < n && (!p.causal || (i >> level & 1) == 1)) ++seen;
  }
  return seen;
}

double seen_by_all(const BlockPattern& p, Index n) {
  double sum = 0;
  for (Index i = 0; i < n; ++i) {
    if (p.kind == BlockKind::logsparse)
      sum += static_cast<double>(seen_in_levels(p, n, i));
    else if (p.kind == BlockKind::window) {
      for (Index j = 0; j < n; ++j) sum += std::abs(i - j) <= p.size && (!p.causal || j <= i) ? 1 : 0;
    } else
      sum += static_cast<double>(seen_by(p, n, i));
  }
  return sum;
}

// Tokens that the makers of summaries see, one by one.
double made_of(nn::CombinerPattern pattern, Index n, Index segment, bool causal) {
  using enum nn::CombinerPattern;
  const Grid grid{n, segment};
  double sum = 0;
  for (Index i = 0; i < n; ++i) {
    const auto both = [&](Index before, Index behind) { return static_cast<double>(before + (causal ? 0 : behind)); };
    if (pattern == fixed) sum += 1;
    if (pattern == vertical || pattern == mixture) sum += both(grid.above(i), grid.below(i));
    if (pattern == horizontal || pattern == mixture) sum += static_cast<double>(grid.left(i) + grid.right(i));
    if (pattern == rowmajor && causal) sum += 0.5 * static_cast<double>(grid.left(i) + 1 + grid.right(i));
    if (pattern == logsparse)
      for (int level = 1; Index{1} << level < n; ++level) sum += !causal || (i >> level & 1) == 0 ? 1 : 0;
  }
  return sum;
}

double flops_of(const std::vector<Part>& parts, const std::string& name, Count Part::*pass = &Part::forward) {
  double sum = 0;
  for (const Part& part : parts)
    if (part.name == "attention." + name) sum += (part.*pass).flops;
  return sum;
}

nn::AttentionConfig config_of(const std::string& kind, Index n) {
  nn::AttentionConfig config;
  config.kind = kind;
  config.width = 12;
  config.heads = 2;
  config.max_length = n;
  return config;
}

std::vector<Part> parts_of(const nn::AttentionConfig& config, Index batch = 1) {
  return bench::attention_parts(config, batch, config.max_length, kFloat32);
}

double product(Index m, Index n, Index k) {
  return 2 * static_cast<double>(m * n * k);
}

}  // namespace

TEST_SUITE("cpu") {
  TEST_CASE("counts: entries that queries see are those of a loop over all of them") {
    for (const BlockKind kind : {BlockKind::fixed, BlockKind::vertical, BlockKind::horizontal, BlockKind::mixture,
                                 BlockKind::rowmajor, BlockKind::logsparse, BlockKind::window})
      for (const auto& [n, size] : {std::pair<Index, Index>{32, 8}, {32, 4}, {8, 8}, {8, 1}, {1, 1}, {64, 16}})
        for (const bool causal : {false, true})
          for (const bool own_span : {false, true}) {
            if (own_span && (causal || (kind != BlockKind::fixed && kind != BlockKind::rowmajor))) continue;
            const BlockPattern pattern = {.kind = kind, .size = size, .causal = causal, .own_span = own_span};
            CAPTURE(static_cast<int>(kind));
            CAPTURE(n);
            CAPTURE(size);
            CAPTURE(causal);
            CHECK(static_cast<double>(n) * kernels::seen_entries(pattern, n) ==
                  doctest::Approx(seen_by_all(pattern, n)).epsilon(1e-12));
          }
    for (const BlockKind kind : {BlockKind::row, BlockKind::column}) {
      const Grid grid{32, 8};
      double all = 0, before = 0;
      for (Index i = 0; i < 32; ++i) {
        const bool row = kind == BlockKind::row;
        before += static_cast<double>(row ? grid.left(i) : grid.above(i));
        all += static_cast<double>(row ? grid.left(i) + 1 + grid.right(i) : grid.above(i) + 1 + grid.below(i));
      }
      CHECK(32 * kernels::seen_entries({.kind = kind, .size = 8}, 32) == all);
      for (const kernels::LineSight sight : {kernels::LineSight::before, kernels::LineSight::after})
        CHECK(32 * kernels::seen_entries({.kind = kind, .size = 8, .sight = sight}, 32) == before);
    }
  }

  TEST_CASE("counts: Combiner's patterns, and what their summaries are made of") {
    using enum nn::CombinerPattern;
    const Index n = 32, segment = 8;
    const double each = 4 * 12;  // flops of an entry in all heads
    for (const bool causal : {false, true})
      for (const auto& [pattern, kind] : {std::pair{fixed, BlockKind::fixed},
                                          {vertical, BlockKind::vertical},
                                          {horizontal, BlockKind::horizontal},
                                          {mixture, BlockKind::mixture},
                                          {rowmajor, BlockKind::rowmajor},
                                          {logsparse, BlockKind::logsparse}}) {
        CAPTURE(nn::combiner_pattern_name(pattern));
        CAPTURE(causal);
        nn::AttentionConfig config = config_of("combiner", n);
        config.causal = causal;
        config.combiner.pattern = pattern;
        config.combiner.segment = pattern == logsparse ? 0 : segment;
        const std::vector<Part> parts = parts_of(config);
        const BlockPattern shape = {.kind = kind, .size = segment, .causal = causal};
        CHECK(flops_of(parts, "attention") == doctest::Approx(each * seen_by_all(shape, n)).epsilon(1e-12));
        CHECK(flops_of(parts, "summaries") ==
              doctest::Approx(each * made_of(pattern, n, segment, causal)).epsilon(1e-12));
        CHECK(flops_of(parts, "summary.out") == (pattern == rowmajor ? product(n, 12, 12) : 0));
      }
    nn::AttentionConfig config = config_of("combiner", n);
    config.combiner.segment = segment;
    const auto total = [&](nn::CombinerPattern pattern) {
      config.combiner.pattern = pattern;
      const std::vector<Part> parts = parts_of(config);
      return flops_of(parts, "attention") + flops_of(parts, "summaries");
    };
    CHECK(total(average) == doctest::Approx(total(vertical) + total(horizontal)));
  }

  TEST_CASE("counts: exact and local attention see pairs, some of them none behind the query") {
    const Index n = 19;
    for (const bool causal : {false, true}) {
      nn::AttentionConfig softmax = config_of("softmax", n), local = config_of("local", n);
      softmax.causal = local.causal = causal;
      local.local.window = 5;
      double pairs = 0, near = 0;
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < (causal ? i + 1 : n); ++j) {
          pairs += 1;
          near += std::abs(i - j) <= 5 ? 1 : 0;
        }
      CHECK(flops_of(parts_of(softmax), "attention") == doctest::Approx(4 * 12 * pairs));
      CHECK(flops_of(parts_of(local), "attention") == doctest::Approx(4 * 12 * near));
      CHECK(flops_of(parts_of(local, 3), "attention") == doctest::Approx(3 * 4 * 12 * near));
      CHECK(flops_of(parts_of(local), "projections") == 3 * product(n, 12, 12));
      CHECK(flops_of(parts_of(local), "output") == product(n, 12, 12));
    }
  }

  TEST_CASE("counts: fsat's keys, none twice, and its predictor") {
    const Index n = 24, heads = 2, r = 3, m = 5;
    nn::AttentionConfig config = config_of("fsat", n);
    config.fsat.cross = r;
    config.fsat.hidden = m;
    config.fsat.lags = 7;
    config.fsat.columns = 4;
    std::set<std::pair<Index, Index>> pairs;  // whichever lags and columns these are
    for (Index i = 0; i < n; ++i) {
      for (const Index lag : {0, 1, 2, 9, 11, 20, 23}) pairs.insert({i, (i + lag) % n});
      for (const Index column : {3, 8, 9, 22}) pairs.insert({i, column});
    }
    std::vector<Part> parts = parts_of(config);
    CHECK(flops_of(parts, "attention") == 4 * 12 * static_cast<double>(pairs.size()));
    CHECK(flops_of(parts, "cross.projections") == 2 * product(n, heads * r, 12));
    CHECK(flops_of(parts, "score_heads") ==
          2 * static_cast<double>(heads) * (product(n, m, r) + product(n, 1, r) + product(n, 1, m)));
    const auto projections = [&] { return flops_of(parts, "cross.projections", &Part::backward); };
    CHECK(projections() == 2 * product(n, heads * r, 12));  // of the weights alone
    config.fsat.truncate = false;
    parts = parts_of(config);
    CHECK(projections() == 4 * product(n, heads * r, 12));
    config.fsat.lags = n;  // every key is on some lag
    CHECK(flops_of(parts_of(config), "attention") == 4 * 12 * static_cast<double>(n * n));
  }

  TEST_CASE("counts: nystrom's and paramixer's products") {
    const Index n = 32, width = 6, heads = 2, m = 8;  // of a head
    nn::AttentionConfig config = config_of("nystrom", n);
    config.nystrom.landmarks = m;
    config.nystrom.pinv_iterations = 3;
    config.nystrom.conv_kernel = 5;
    const std::vector<Part> parts = parts_of(config);
    const auto of_heads = [](double flops) { return static_cast<double>(heads) * flops; };
    for (const char* name : {"gathered", "spread"})  // logits, then values
      CHECK(flops_of(parts, name) == of_heads(product(m, n, width) + product(m, width, n)));
    CHECK(flops_of(parts, "between") == of_heads(product(m, m, width)));
    CHECK(flops_of(parts, "inverse") == of_heads(product(m, width, m)));
    CHECK(flops_of(parts, "pinv") == of_heads(3 * 4 * product(m, m, m)));
    CHECK(flops_of(parts, "convolution") == of_heads(product(n, width, 5)));

    config = config_of("paramixer", n);
    config.paramixer.hidden = 7;
    const std::vector<Part> mixed = parts_of(config);  // 5 factors of 6 links
    CHECK(flops_of(mixed, "values") == product(n, 7, 12) + product(n, 12, 7));
    CHECK(flops_of(mixed, "links") == 5 * (product(n, 7, 12) + product(n, 6, 7)));
    CHECK(flops_of(mixed, "factors") == 5 * product(n, 12, 6));
    CHECK(flops_of(mixed, "projections") == 0);
  }

  TEST_CASE("counts: backward makes nothing again but attention's logits") {
    const std::set<std::string> attending = {"attention", "summaries", "gathered", "spread"};
    const std::set<std::string> linear = {"landmarks", "cross", "choice", "cross.projections"};
    for (const std::string& kind : bench::mechanism_kinds()) {
      nn::AttentionConfig config = config_of(kind, 128);
      for (const Part& part : parts_of(config)) {
        CAPTURE(part.name);
        const std::string name = part.name.substr(std::string("attention.").size());
        if (linear.contains(name)) continue;
        CHECK(part.backward.flops == doctest::Approx((attending.contains(name) ? 2.5 : 2) * part.forward.flops));
      }
    }
  }

  TEST_CASE("counts: parts of every attention, layer and step add up") {
    for (const bench::Case& c : bench::all_cases()) {
      bench::Settings settings(c.op, c.settings);
      for (const auto& [name, value] : {std::pair{"n", "24"}, {"d", "8"}, {"batch", "2"}})
        if (settings.has(name)) settings.set(name, value);
      const bench::Work work = c.make(settings, nn::Place(1, kFloat32, kCpu));
      if (work.parts.empty()) continue;
      CAPTURE(c.op);
      for (const auto& [pass, count] :
           {std::pair{&Part::forward, &work.forward_count}, {&Part::backward, &work.backward_count}}) {
        const Count sum = bench::sum_of(work.parts, pass);
        CHECK(sum.flops == doctest::Approx(count->flops));
        CHECK(sum.bytes == doctest::Approx(count->bytes));
      }
    }
    for (const std::string& kind : bench::mechanism_kinds()) CHECK_FALSE(parts_of(config_of(kind, 24)).empty());
  }
}  // TEST_SUITE

}  // namespace subquad::test
