#include "subquad/examples/inspect/room.h"

#include <fstream>
#include <limits>
#include <string>

#include "subquad/core/error.h"
#include "subquad/core/parallel.h"
#include "subquad/examples/inspect/head_facts.h"
#include "subquad/examples/inspect/parts.h"

namespace subquad::inspect {

namespace {

// Summaries of all tables, as a multiple of the positions: kernels/block_attention.
double summaries_a_position(const nn::CombinerConfig& config) {
  switch (config.pattern) {
    case nn::CombinerPattern::fixed: return .1;
    case nn::CombinerPattern::logsparse:
    case nn::CombinerPattern::rowmajor: return 1;
    case nn::CombinerPattern::vertical:
    case nn::CombinerPattern::horizontal: return 2;
    default: return 4;
  }
}

// N x N matrices of float32 of a head.
double kept_of_head(const nn::AttentionConfig& config) {
  const std::string& kind = config.kind;
  if (kind == "paramixer") return 1;
  const double both = 2;  // its own and softmax's
  if (kind == "nystrom" && config.nystrom.conv_kernel > 0) return both + 2;
  // Direct weights, those of summaries and within them; the sets are found by such weights of their own.
  if (kind == "combiner") return both + 2 * (1 + 2 * summaries_a_position(config.combiner));
  return both;
}

}  // namespace

double matrix_bytes(const Sight& sight, const nn::AttentionConfig& config) {
  const nn::Attention& attention = *sight.layers[0].attention;
  const auto n = static_cast<double>(sight.layers[0].in.values.dim(1));
  const double of_all = kept_of_head(config) * static_cast<double>(attention.heads() * std::ssize(sight.layers));
  double passing = 2 + num_threads() + (config.kind == "paramixer" ? 4 : 0);
  if (n <= static_cast<double>(kMostSingular))  // copies that spectra are found from
    passing += static_cast<double>(attention.heads()) * (config.kind == "nystrom" ? 8 : 4) + num_threads();
  return 4 * n * n * (of_all + passing);
}

double free_bytes() {
  std::ifstream memory("/proc/meminfo");
  std::string name, unit;
  double kilobytes = 0;
  while (memory >> name >> kilobytes) {
    if (name == "MemAvailable:") return .75 * 1024 * kilobytes;
    memory.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 8e9;
}

void check_room(const Sight& sight, const nn::AttentionConfig& config, double gigabytes) {
  const double room = gigabytes > 0 ? gigabytes * 1e9 : free_bytes(), needed = matrix_bytes(sight, config);
  if (needed <= room) return;
  const Index layers = std::ssize(sight.layers), heads = sight.layers[0].attention->heads();
  throw Error(cat(sight.layers[0].in.values.dim(1), " positions: the matrices of ", count_of(layers, "layer"), " of ",
                  count_of(heads, "head"), " need about ", with_unit(needed), "B, and there is room for ",
                  with_unit(room), "B (--memory); ",
                  layers * heads > 1 ? "a fresh model can have fewer --layers or --heads, and a" : "a",
                  " shorter input needs less, as the square of its length"));
}

}  // namespace subquad::inspect
