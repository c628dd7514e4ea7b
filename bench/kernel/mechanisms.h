// The attentions of nn/attention as bench_kernel offers them: what may be chosen, and the work that the mechanism asks
// for, counted as the pages of its paper count it, whatever ours does.
#pragma once

#include "subquad/bench/kernel/case.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::bench {

std::vector<std::string> mechanism_kinds();
std::string mechanism_about(const std::string& kind);              // one line for the list
std::vector<Setting> mechanism_settings(const std::string& kind);  // n, d, batch, heads and its own
nn::AttentionConfig mechanism_config(const std::string& kind, const Settings& settings);

// Projections included, of `batch` samples.
Part attention_part(const nn::AttentionConfig& config, Index batch, Index positions, DType dtype);

}  // namespace subquad::bench
