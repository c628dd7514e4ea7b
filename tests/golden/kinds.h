// The kinds of golden files that this program understands, one check each.
#pragma once

#include "subquad/nn/attention/config.h"
#include "subquad/nn/state_dict.h"
#include "subquad/tests/golden/golden_file.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

// Runs a case in the given dtype.
GoldenErrors golden_softmax(const GoldenFile& file, DType dtype);
GoldenErrors golden_chord_matmul(const GoldenFile& file, DType dtype);
GoldenErrors golden_paramixer_block(const GoldenFile& file, DType dtype);
GoldenErrors golden_paramixer_classifier(const GoldenFile& file, DType dtype);  // also of kind order
GoldenErrors golden_paramixer_adding(const GoldenFile& file, DType dtype);
GoldenErrors golden_fsat_cross(const GoldenFile& file, DType dtype);
GoldenErrors golden_fsat_topk(const GoldenFile& file, DType dtype);
GoldenErrors golden_fsat_gather(const GoldenFile& file, DType dtype);
GoldenErrors golden_fsat_module(const GoldenFile& file, DType dtype);
GoldenErrors golden_combiner_attention(const GoldenFile& file, DType dtype);
GoldenErrors golden_nystromformer_attention(const GoldenFile& file, DType dtype);
GoldenErrors golden_nystromformer_pinv(const GoldenFile& file, DType dtype);
GoldenErrors golden_nystromformer_layer(const GoldenFile& file, DType dtype);
GoldenErrors golden_nystromformer_classifier(const GoldenFile& file, DType dtype);
GoldenErrors golden_nystromformer_two_tower(const GoldenFile& file, DType dtype);

// The parameters (or, with prefix "grad.param.", their gradients) of a Paramixer block under our names.
nn::StateDict paramixer_state(const GoldenFile& file, const std::string& prefix, Index factors, DType dtype);
// A block's options; its sizes must be those of the parameters under that prefix.
nn::ParamixerConfig paramixer_options(const GoldenFile& file, const std::string& prefix);

}  // namespace subquad::test
