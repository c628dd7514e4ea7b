// The attentions of nn/attention as bench_kernel offers them: what may be chosen, and the work that the mechanism's
// equations ask for, part by part, whatever ours does.
#pragma once

#include "subquad/bench/kernel/case.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::bench {

std::vector<std::string> mechanism_kinds();
std::string mechanism_about(const std::string& kind);              // one line for the list
std::vector<Setting> mechanism_settings(const std::string& kind);  // n, d, batch, heads and its own
nn::AttentionConfig mechanism_config(const std::string& kind, const Settings& settings);

// What is done one after the other on `batch` samples, projections included; their counts and floors add up.
std::vector<Part> attention_parts(const nn::AttentionConfig& config, Index batch, Index positions, DType dtype);
Count sum_of(const std::vector<Part>& parts, Count Part::*pass);

}  // namespace subquad::bench
