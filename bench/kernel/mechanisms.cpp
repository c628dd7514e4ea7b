#include "subquad/bench/kernel/mechanisms.h"

#include <algorithm>
#include <cmath>

namespace subquad::bench {

namespace {

using nn::AttentionConfig;

// One sample through a mechanism, without its projections: flops of the forward, how many times as many the backward
// takes, and the numbers that it has to keep or write beside x, q, k, v, heads and result.
struct Mechanics {
  double flops = 0;
  double backward = 2;
  double numbers = 0;
};

struct Mechanism {
  std::string kind;
  std::string about;
  std::vector<Setting> settings;
  void (*choose)(const Settings&, AttentionConfig&);     // fills the mechanism's part of the config
  Mechanics (*count)(const AttentionConfig&, double n);  // n positions
  bool projected = true;                                 // has query, key, value and output projections
};

double size(Index extent) {
  return static_cast<double>(extent);
}

double log2_of(double n) {
  return std::max(1.0, std::ceil(std::log2(n)));
}

// --- exact attention: 4 n^2 per feature; keeps log-sum-exps
void choose_softmax(const Settings& s, AttentionConfig& config) {
  config.causal = s.flag("causal");
}

Mechanics count_softmax(const AttentionConfig& c, double n) {
  return {(c.causal ? 2 : 4) * n * n * size(c.width), 2.5, n * size(c.heads)};
}

// --- the products of nn/attention/nystrom.h, in the order F (Z (S v))
void choose_nystrom(const Settings& s, AttentionConfig& config) {
  config.nystrom.landmarks = s.size("landmarks");
  config.nystrom.pinv_iterations = static_cast<int>(s.size("iterations"));
  config.nystrom.conv_kernel = s.size("conv");
}

Mechanics count_nystrom(const AttentionConfig& c, double n) {
  const double m = size(c.nystrom.landmarks), d = size(c.width), h = size(c.heads), steps = c.nystrom.pinv_iterations;
  if (m >= n) return count_softmax(c, n);
  const double flops =
      8 * n * m * d + 4 * m * m * d + 8 * steps * m * m * m * h + 2 * n * d * size(c.nystrom.conv_kernel);
  return {flops, 2.5, (n + m) * h + 4 * m * d + (steps + 1) * m * m * h};
}

// --- nn/attention/fsat.h: projections a and b, transforms of length 2^p, score heads; then K keys for each query
void choose_fsat(const Settings& s, AttentionConfig& config) {
  config.fsat.cross = s.size("cross");
  config.fsat.hidden = s.size("hidden");
  config.fsat.lags = s.size("lags");
  config.fsat.columns = s.size("columns");
  config.fsat.window = s.size("window", -1);
}

Mechanics count_fsat(const AttentionConfig& c, double n) {
  const double r = size(c.fsat.cross), m = size(c.fsat.hidden), h = size(c.heads), d = size(c.width);
  const double keys = std::min(n, size(c.fsat.lags)) + std::min(n, size(c.fsat.columns));
  const double predictor = 4 * n * d * h * r + 7.5 * h * r * n * log2_of(n) + 4 * n * h * (r * m + r + m);
  return {predictor + 4 * n * keys * d, 2.5, 4 * n * h * r + 3 * n * h};
}

// --- as nn/attention/paramixer.h counts
void choose_paramixer(const Settings& s, AttentionConfig& config) {
  config.paramixer.protocol = nn::parse_link_protocol(s.text("protocol"));
  config.paramixer.hidden = s.size("hidden");
}

Mechanics count_paramixer(const AttentionConfig& c, double n) {
  const double d = size(c.width), hidden = size(c.paramixer.hidden), factors = log2_of(n);
  const double links = c.paramixer.protocol == nn::LinkProtocol::chord  ? factors + 1
                       : c.paramixer.protocol == nn::LinkProtocol::cdil ? 9
                                                                        : 2;
  const double flops = 2 * factors * n * (d * hidden + hidden * links + links * d) + 4 * n * d * hidden;
  return {flops, 2.5, factors * n * (links + d)};
}

// --- the table of nn/attention/combiner.h: so many tokens or summaries for each query
void choose_combiner(const Settings& s, AttentionConfig& config) {
  config.causal = s.flag("causal");
  config.combiner.pattern = nn::parse_combiner_pattern(s.text("pattern"));
  config.combiner.segment = s.size("segment");
  config.combiner.pool = nn::parse_combiner_pool(s.text("pool"));
}

Mechanics count_combiner(const AttentionConfig& c, double n) {
  using enum nn::CombinerPattern;
  const double d = size(c.width),
               side = c.combiner.segment > 0 ? size(c.combiner.segment) : std::max(1.0, std::sqrt(n));
  const double both = side + n / side;
  double entries = 0, summaries = n;  // of each direction or level
  switch (c.combiner.pattern) {
    case fixed: entries = both + 1, summaries = n / side; break;
    case logsparse: entries = 1 + 2 * log2_of(n); break;
    case vertical:
    case horizontal: entries = 3 * both, summaries = 2 * n; break;
    case mixture: entries = 5 * both, summaries = 4 * n; break;
    case average: entries = 6 * both, summaries = 4 * n; break;
    case rowmajor: entries = 1.5 * side + n / side + d; break;  // the summary's projections
  }
  const bool layered = nn::combiner_pool_name(c.combiner.pool).starts_with("deepset");  // q W and k W of each head
  const double pooled = layered ? 4 * n * d * d / size(c.heads) : 0;
  return {4 * n * entries * d / (c.causal ? 2 : 1) + pooled, 2.5, 3 * summaries * d + n * size(c.heads)};
}

// --- neighbours alone
void choose_local(const Settings& s, AttentionConfig& config) {
  config.causal = s.flag("causal");
  config.local.window = s.size("window");
}

Mechanics count_local(const AttentionConfig& c, double n) {
  const double keys = std::min(n, (c.causal ? 1 : 2) * size(c.local.window) + 1);
  return {4 * n * keys * size(c.width), 2.5, n * size(c.heads)};
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

Part attention_part(const AttentionConfig& config, Index batch, Index positions, DType dtype) {
  const Mechanism& mechanism = mechanism_of(config.kind);
  const double samples = size(batch), n = size(positions), d = size(config.width);
  const Mechanics core = mechanism.count(config, n);
  const double projections = mechanism.projected ? 8 * n * d * d : 0;
  const double bytes = samples * size(static_cast<Index>(dtype_bytes(dtype))) * (core.numbers + 6 * n * d);
  return {"attention",
          {samples * (core.flops + projections), bytes},
          {samples * (core.backward * core.flops + 2 * projections), 2 * bytes}};
}

}  // namespace subquad::bench
