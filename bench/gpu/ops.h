// The table of bench_kernel (bench/kernel/case.h) on a GPU: forward and backward as graphs, how many operations each
// records, how much memory they take, and how time and memory grow with n. What is timed has been compared with float64
// first, in its own precision and at its own n, on one sample.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "subquad/bench/gpu/roofs.h"

namespace subquad::bench::gpu {

struct OpsOptions {
  std::string only;  // a regular expression that titles match
  std::string dump;  // a folder for inputs, results and gradients, one file per case at its smallest size; empty: none
  bool tiny = false;
};

// Called with each record as it is made, and a line for people.
using Report = std::function<void(const nlohmann::ordered_json& record, const std::string& line)>;

// The attentions (fp32, bf16), the primitives (fp32, and TF32 and bf16 where they multiply), or encoder layers and
// whole training steps (fp32, bf16) at the sizes of a training: batch 32, n = 2048 with heads 32 wide and n = 4096 with
// heads 64 wide. How many cases were wrong.
enum class Which { attentions, primitives, layers };
int bench_ops(Which which, Device device, const Roofs& roofs, const OpsOptions& options, const Report& report);

// The attentions, one sample: n = 2^10 ... 2^17 with fitted exponents, then a million positions; softmax attention,
// which is quadratic, comes last and without the million. How many were wrong.
int bench_growth(Device device, const OpsOptions& options, const Report& report);

}  // namespace subquad::bench::gpu
