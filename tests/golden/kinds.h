// The kinds of golden files that this program understands, one check each.
#pragma once

#include <cmath>

#include "subquad/core/safetensors.h"
#include "subquad/nn/state_dict.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

// Largest max |got - want| / max(1, max |want|) over a file's tensors. NaN when anything is NaN.
struct GoldenErrors {
  double results = 0;
  double gradients = 0;

  void result(const Tensor& got, const Tensor& want) { results = worse(results, largest_error(got, want)); }
  void gradient(const Tensor& got, const Tensor& want) { gradients = worse(gradients, largest_error(got, want)); }
  void include(const GoldenErrors& other) {
    results = worse(results, other.results);
    gradients = worse(gradients, other.gradients);
  }

 private:
  static double worse(double a, double b) { return a > b || std::isnan(a) ? a : b; }
};

// Runs a case in the given dtype. A tensor or key that is missing is an std::out_of_range.
GoldenErrors golden_softmax(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_chord_matmul(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_paramixer_block(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_paramixer_classifier(const SafetensorsFile& file, DType dtype);  // also of kind order
GoldenErrors golden_paramixer_adding(const SafetensorsFile& file, DType dtype);

// The parameters (or, with prefix "grad.param.", their gradients) of a Paramixer block under our names.
nn::StateDict paramixer_state(const SafetensorsFile& file, const std::string& prefix, Index factors, DType dtype);
GoldenErrors golden_fsat_cross(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_fsat_topk(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_fsat_gather(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_fsat_module(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_combiner_attention(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_nystromformer_attention(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_nystromformer_pinv(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_nystromformer_layer(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_nystromformer_classifier(const SafetensorsFile& file, DType dtype);
GoldenErrors golden_nystromformer_two_tower(const SafetensorsFile& file, DType dtype);

}  // namespace subquad::test
