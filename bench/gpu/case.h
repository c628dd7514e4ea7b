// What is timed on a GPU: one op at one size and precision, with the work it has to do at least, and a check.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "subquad/core/precision.h"
#include "subquad/core/tensor.h"

namespace subquad::bench::gpu {

// One set of random inputs on the device, and the op on them.
struct Prepared {
  std::function<void()> run;      // asks for the op once; the results stay until the next call
  std::function<double()> error;  // of a sample of the results, against float64 on the CPU, relative to max(1, |want|)
  std::function<std::map<std::string, Tensor>()> tensors;  // inputs and results by name
};

struct Case {
  std::string op;
  std::vector<std::pair<std::string, Index>> shape;
  Precision precision = Precision::fp32;
  double flops = 0;  // 0: only bytes count
  double bytes = 0;  // inputs read once, results written once
  double tolerance = 0;
  std::function<Prepared(std::uint64_t seed)> prepare;
};

// tiny: sizes for the interpreter of tests/simt.
std::vector<Case> matmul_cases(Device device, bool tiny);
std::vector<Case> attention_cases(Device device, bool tiny);
std::vector<Case> row_cases(Device device, bool tiny);  // softmax, layer norm, bias + GELU + dropout, cross entropy
std::vector<Case> adamw_cases(Device device, bool tiny);

// float32 draws from the standard normal.
Tensor normal(const Shape& shape, Device device, std::uint64_t seed, std::uint64_t stream);

// max |got - want| / max(1, max |want|), wherever they live.
double error_of(const Tensor& got, const Tensor& want);

// A float64 copy on the CPU.
Tensor doubles(const Tensor& t);

// The error that a sum of `length` products may have: that of plain arithmetic in that precision, twice.
double tolerance_of(Precision precision, Index length);

}  // namespace subquad::bench::gpu
