#include "subquad/bench/kernel/mechanisms.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/kernels/block_attention/block_attention.h"
#include "subquad/kernels/fft/fft.h"
#include "subquad/nn/attention/combiner.h"

namespace subquad::bench {

namespace {

using nn::AttentionConfig;

using Parts = std::vector<Part>;

struct Mechanism {
  std::string kind;
  std::string about;
  std::vector<Setting> settings;
  void (*choose)(const Settings&, AttentionConfig&);  // fills the mechanism's part of the config
  Parts (*count)(const AttentionConfig&, Index n);    // of one sample of n positions; its `bytes` are numbers
  bool projected = true;                              // has query, key, value and output projections
};

double size(Index extent) {
  return static_cast<double>(extent);
}

double log2_of(Index n) {
  return std::max(1.0, std::ceil(std::log2(size(n))));
}

// So many multiplications and additions of two factors, each of which gets a gradient by as many. What is read and
// written forward comes again in backward, with its gradients. `gradients` 1: one factor gets none.
Part product(std::string name, double pairs, double numbers, int gradients = 2) {
  return {std::move(name), {2 * pairs, numbers}, {2 * gradients * pairs, gradients * numbers}};
}

// Rows through a weight, without the weight's own few numbers.
Part projection(std::string name, double rows, double inputs, double outputs, int gradients = 2) {
  return product(std::move(name), rows * inputs * outputs, rows * (inputs + outputs), gradients);
}

// A query for each of `keys` (all queries' together) takes a logit and a value of `width` features: two products. Only
// here backward makes one of its own again, the logits, which no attention stores: five products in all.
Part seen(std::string name, double keys, double width, double numbers) {
  return {std::move(name), {4 * keys * width, numbers}, {10 * keys * width, 2 * numbers}};
}

// q, k, v, heads and log-sum-exps.
double head_numbers(const AttentionConfig& c, Index n) {
  return size(n) * (4 * size(c.width) + size(c.heads));
}

// --- exact attention: n keys for each query, or those up to its own
void choose_softmax(const Settings& s, AttentionConfig& config) {
  config.causal = s.flag("causal");
}

Parts count_softmax(const AttentionConfig& c, Index n) {
  const double keys = size(n) * (c.causal ? (size(n) + 1) / 2 : size(n));
  return {seen("attention", keys, size(c.width), head_numbers(c, n))};
}

// --- nn/attention/nystrom.h, in the order F (Z (S v))
void choose_nystrom(const Settings& s, AttentionConfig& config) {
  config.nystrom.landmarks = s.size("landmarks");
  config.nystrom.pinv_iterations = static_cast<int>(s.size("iterations"));
  config.nystrom.conv_kernel = s.size("conv");
}

// m landmarks are means of queries and keys; S v has n keys for each of m queries, F (...) m for each of n. A is a
// product of landmarks, a step of the pseudo-inverse four of matrices m x m, Z (S v) one more.
Parts count_nystrom(const AttentionConfig& c, Index positions) {
  const double n = size(positions), m = size(c.nystrom.landmarks), d = size(c.width), h = size(c.heads);
  const double steps = c.nystrom.pinv_iterations, taps = size(c.nystrom.conv_kernel);
  if (m >= n) {
    Parts parts = count_softmax(c, positions);
    parts.push_back(product("convolution", n * d * taps, n * d));
    return parts;
  }
  return {{"landmarks", {2 * n * d, 2 * (n + m) * d}, {2 * n * d, 2 * (n + m) * d}},
          product("between", m * m * d, 2 * m * d + m * m * h),
          product("pinv", 4 * steps * m * m * m * h, (steps + 1) * m * m * h),
          seen("gathered", n * m, d, 2 * n * d + 2 * m * d + m * h),
          product("inverse", m * m * d, 2 * m * d + m * m * h),
          seen("spread", n * m, d, 2 * n * d + 2 * m * d + n * h),
          product("convolution", n * d * taps, n * d)};
}

// --- nn/attention/fsat.h
void choose_fsat(const Settings& s, AttentionConfig& config) {
  config.fsat.cross = s.size("cross");
  config.fsat.hidden = s.size("hidden");
  config.fsat.lags = s.size("lags");
  config.fsat.columns = s.size("columns");
  config.fsat.window = s.size("window", -1);
}

// The cross takes three real transforms of h r channels forward and, where their spectra are kept, three backward. The
// two score heads have r m products for each position and head, and r + m more. With `truncate` x gets no gradient of
// its projections. A column that one of a query's lags meets is no second key, which happens lags * columns times.
Parts count_fsat(const AttentionConfig& c, Index positions) {
  const double n = size(positions), d = size(c.width), h = size(c.heads);
  const double r = size(c.fsat.cross), m = size(c.fsat.hidden), channels = h * r;
  const double lags = std::min(n, size(c.fsat.lags)), columns = std::min(n, size(c.fsat.columns));
  const double transforms = kernels::real_transforms(3 * c.heads * c.fsat.cross, positions).count;
  const double keys = n * (lags + columns) - lags * columns;
  return {
      projection("cross.projections", n, d, 2 * channels, c.fsat.truncate ? 1 : 2),
      {"cross", {transforms + 8 * n * channels, 4 * n * channels}, {transforms + 16 * n * channels, 6 * n * channels}},
      product("score_heads", 2 * n * h * (r * m + r + m), 2 * n * (channels + h)),
      {"choice", {2 * n * h, 2 * n * h}, {}},
      seen("attention", keys, d, head_numbers(c, positions))};
}

// --- nn/attention/paramixer.h
void choose_paramixer(const Settings& s, AttentionConfig& config) {
  config.paramixer.protocol = nn::parse_link_protocol(s.text("protocol"));
  config.paramixer.hidden = s.size("hidden");
}

// g: d -> hidden -> d once, f: d -> hidden -> links for each factor, which then takes `links` rows of d for each row.
// Weights and values are written once, for backward; as many rows of values as there are links come from some cache.
Parts count_paramixer(const AttentionConfig& c, Index positions) {
  const double n = size(positions), d = size(c.width), hidden = size(c.paramixer.hidden), factors = log2_of(positions);
  const double links = c.paramixer.protocol == nn::LinkProtocol::chord  ? factors + 1
                       : c.paramixer.protocol == nn::LinkProtocol::cdil ? 9
                                                                        : 2;
  const double rows = factors * n, linked = rows * links * d;
  return {product("values", 2 * n * d * hidden, 2 * n * d),
          product("links", rows * hidden * (d + links), n * d + rows * links),
          {"factors", {2 * linked, rows * (links + d) + n * d}, {4 * linked, rows * (2 * links + d) + 2 * n * d}}};
}

// --- nn/attention/combiner.h
void choose_combiner(const Settings& s, AttentionConfig& config) {
  config.causal = s.flag("causal");
  config.combiner.pattern = nn::parse_combiner_pattern(s.text("pattern"));
  config.combiner.segment = s.size("segment");
  config.combiner.pool = nn::parse_combiner_pool(s.text("pool"));
}

kernels::BlockKind block_kind(nn::CombinerPattern pattern) {
  switch (pattern) {
    case nn::CombinerPattern::fixed: return kernels::BlockKind::fixed;
    case nn::CombinerPattern::logsparse: return kernels::BlockKind::logsparse;
    case nn::CombinerPattern::vertical: return kernels::BlockKind::vertical;
    case nn::CombinerPattern::horizontal: return kernels::BlockKind::horizontal;
    case nn::CombinerPattern::mixture: return kernels::BlockKind::mixture;
    case nn::CombinerPattern::rowmajor: return kernels::BlockKind::rowmajor;
    case nn::CombinerPattern::average: break;
  }
  throw InternalError("combiner: average is two patterns");
}

// How many tokens the queries that make summaries see, for each position. A span of fixed has one query for its tokens,
// and so has each block of logsparse, one per level of those that anybody looks at (causal: those on the left). On a
// grid each cell is the query for the tokens above it, below it (nobody looks there if causal), to its left and to its
// right. rowmajor: a token sees its row, which is what it sees directly; causal, it shares logits alone: half of that
// work.
double making(nn::CombinerPattern pattern, const kernels::BlockPattern& shape, Index n) {
  const auto on_line = [&](kernels::BlockKind line) {
    return kernels::seen_entries({.kind = line, .size = shape.size, .sight = kernels::LineSight::before}, n);
  };
  const double column = on_line(kernels::BlockKind::column), row = on_line(kernels::BlockKind::row);
  const int ways = shape.causal ? 1 : 2;
  switch (pattern) {
    case nn::CombinerPattern::fixed: return 1;
    case nn::CombinerPattern::logsparse: return (log2_of(n) - 1) * ways / 2;
    case nn::CombinerPattern::vertical: return ways * column;
    case nn::CombinerPattern::horizontal: return 2 * row;
    case nn::CombinerPattern::mixture: return ways * column + 2 * row;
    case nn::CombinerPattern::rowmajor: return shape.causal ? size(std::min(shape.size, n)) / 2 : 0;
    case nn::CombinerPattern::average: break;
  }
  throw InternalError("combiner: average is two patterns");
}

double summary_count(const kernels::BlockPattern& shape, Index n) {
  double rows = 0;
  for (const Index table : kernels::summary_rows(shape, n)) rows += size(table);
  return rows;
}

// What makes the summaries reads q, k, v and writes keys and values, which queries read beside their own.
Parts count_combiner(const AttentionConfig& c, Index n) {
  if (c.combiner.pattern == nn::CombinerPattern::average) {
    AttentionConfig half = c;
    half.combiner.pattern = nn::CombinerPattern::vertical;
    Parts parts = count_combiner(half, n);
    half.combiner.pattern = nn::CombinerPattern::horizontal;
    for (Part& part : count_combiner(half, n)) parts.push_back(std::move(part));
    return parts;
  }
  const double d = size(c.width), each = size(n);
  const kernels::BlockPattern shape = {.kind = block_kind(c.combiner.pattern),
                                       .size = nn::combiner_segment(c.combiner, c.max_length),
                                       .causal = c.causal,
                                       .own_span = c.combiner.own_span && !c.causal};
  const double summaries = 2 * summary_count(shape, n) * d;  // keys and values
  Parts parts = {seen("summaries", each * making(c.combiner.pattern, shape, n), d, 3 * each * d + summaries),
                 seen("attention", each * kernels::seen_entries(shape, n), d, head_numbers(c, n) + summaries)};
  if (nn::combiner_pool_name(c.combiner.pool).starts_with("deepset"))  // q W and k W of each head
    parts.push_back(projection("pool", 2 * each * size(c.heads), d / size(c.heads), d / size(c.heads)));
  if (c.combiner.pattern == nn::CombinerPattern::rowmajor) {  // of the row's attention a key
    parts.push_back(projection("summary.out", each, d, d));
    parts.push_back(projection("summary.key", each, d, d));
  }
  return parts;
}

// --- neighbours alone
void choose_local(const Settings& s, AttentionConfig& config) {
  config.causal = s.flag("causal");
  config.local.window = s.size("window");
}

Parts count_local(const AttentionConfig& c, Index n) {
  const double keys =
      kernels::seen_entries({.kind = kernels::BlockKind::window, .size = c.local.window, .causal = c.causal}, n);
  return {seen("attention", size(n) * keys, size(c.width), head_numbers(c, n))};
}

const Setting kCausal = {"causal", "false", "nothing behind the query"};

const std::vector<Mechanism>& mechanisms() {
  static const std::vector<Mechanism> all = {
      {"softmax", "exact attention", {kCausal}, choose_softmax, count_softmax},
      {"nystrom",
       "Nystrom attention: landmarks and a pseudo-inverse",
       {{"landmarks", "64", "m"}, {"iterations", "6", "of the pseudo-inverse"}, {"conv", "35", "taps over the values"}},
       choose_nystrom,
       count_nystrom},
      {"fsat",
       "FSAT, our reconstruction: lags and columns that an FFT predicts",
       {{"cross", "16", "channels of a head"},
        {"hidden", "16", "of a score head"},
        {"lags", "64", "diagonals that are kept"},
        {"columns", "32", "columns that are kept"},
        {"window", "8", "lags up to this one are always kept; -1: none"}},
       choose_fsat,
       count_fsat},
      {"paramixer",
       "Paramixer: a product of sparse factors",
       {{"protocol", "chord", "chord, cdil or butterfly"}, {"hidden", "32", "of the perceptrons"}},
       choose_paramixer,
       count_paramixer,
       false},
      {"combiner",
       "Combiner: direct tokens and summaries of all others",
       {{"pattern", "fixed", "fixed, logsparse, vertical, horizontal, mixture, average, rowmajor"},
        {"segment", "0", "tokens of a segment, columns of a grid; 0 = about sqrt(n)"},
        {"pool", "max", "fixed: max, mean or sum; with relu_ or deepset_ before it, too"},
        kCausal},
       choose_combiner,
       count_combiner},
      {"local",
       "exact attention to neighbours alone",
       {{"window", "32", "to either side"}, kCausal},
       choose_local,
       count_local},
  };
  return all;
}

const Mechanism& mechanism_of(const std::string& kind) {
  for (const Mechanism& mechanism : mechanisms())
    if (mechanism.kind == kind) return mechanism;
  throw InternalError(cat("there is no mechanism ", kind));
}

}  // namespace

std::vector<std::string> mechanism_kinds() {
  std::vector<std::string> kinds;
  for (const Mechanism& mechanism : mechanisms()) kinds.push_back(mechanism.kind);
  return kinds;
}

std::string mechanism_about(const std::string& kind) {
  return mechanism_of(kind).about;
}

std::vector<Setting> mechanism_settings(const std::string& kind) {
  const Mechanism& mechanism = mechanism_of(kind);
  std::vector<Setting> settings = {{"n", "4096", "positions"},
                                   {"d", "64", "features of all heads"},
                                   {"batch", "4", "samples"},
                                   {"heads", mechanism.projected ? "2" : "1", "heads"}};
  settings.insert(settings.end(), mechanism.settings.begin(), mechanism.settings.end());
  return settings;
}

AttentionConfig mechanism_config(const std::string& kind, const Settings& s) {
  AttentionConfig config;
  config.kind = kind;
  config.width = s.size("d");
  config.heads = s.size("heads");
  config.max_length = std::max<Index>(s.size("n"), 1);
  mechanism_of(kind).choose(s, config);
  return config;
}

std::vector<Part> attention_parts(const AttentionConfig& config, Index batch, Index positions, DType dtype) {
  const Mechanism& mechanism = mechanism_of(config.kind);
  const double n = size(positions), d = size(config.width);
  Parts parts = mechanism.count(config, positions);
  if (mechanism.projected) {
    parts.insert(parts.begin(), projection("projections", n, d, 3 * d));
    parts.push_back(projection("output", n, d, d));
  }
  const double samples = size(batch), bytes = samples * static_cast<double>(dtype_bytes(dtype));
  for (Part& part : parts) {
    part.name = "attention." + part.name;
    for (Count* count : {&part.forward, &part.backward}) *count = {samples * count->flops, bytes * count->bytes};
  }
  return parts;
}

Count sum_of(const std::vector<Part>& parts, Count Part::*pass) {
  return std::accumulate(parts.begin(), parts.end(), Count(), [&](const Count& sum, const Part& part) {
    const Count& c = part.*pass;
    return Count{sum.flops + c.flops, sum.bytes + c.bytes, sum.again + c.again};
  });
}

}  // namespace subquad::bench
