// The ops and attentions of bench_kernel's table (bench/kernel/case.h) on a GPU: forward and backward as graphs, how
// many operations each records, how much memory they take, and how time and memory grow with n.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "subquad/bench/gpu/roofs.h"

namespace subquad::bench::gpu {

struct OpsOptions {
  std::string only;  // a regular expression that titles match
  std::string dump;  // a folder for inputs and results of the attentions, one file each; empty: none
  bool tiny = false;
};

// Called with each record as it is made, and a line for people.
using Report = std::function<void(const nlohmann::ordered_json& record, const std::string& line)>;

// The attentions (in fp32 and bf16), or the primitives (in fp32), at the sizes of a training: batch 32, n = 2048 with
// heads 32 wide and n = 4096 with heads 64 wide. Results and gradients in fp32 are compared with float64 first, on one
// sample of at most 2048 positions (not fsat's: rounding may change what it chooses). How many cases were wrong.
enum class Which { attentions, primitives };
int bench_ops(Which which, Device device, const Roofs& roofs, const OpsOptions& options, const Report& report);

// The attentions, one sample: n = 2^10 ... 2^17 with fitted exponents, then a million positions; softmax attention,
// which is quadratic, comes last and without the million.
void bench_growth(Device device, const OpsOptions& options, const Report& report);

}  // namespace subquad::bench::gpu
