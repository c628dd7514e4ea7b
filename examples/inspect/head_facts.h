// What is known of each head of a layer before any of it is drawn: its N x N matrices, their rows and spectra.
#pragma once

#include <string>
#include <vector>

#include "subquad/examples/inspect/sight.h"
#include "subquad/nn/attention/config.h"

namespace subquad::inspect {

struct LayerMatrices {
  Tensor mixing = {};   // [H, N, N] float32 on the CPU
  Tensor softmax = {};  // the same, of the same q and k; undefined in a mechanism that has none
  Tensor alone = {};    // Nystrom's F Z S without the convolution that stands beside it; undefined where there is none
};
LayerMatrices layer_matrices(const LayerSight& layer, const nn::AttentionConfig& config);

inline constexpr const char *kMixing = "mixing", *kAlone = "F Z S", *kSoftmax = "softmax";

// One matrix of a head, and what is known of it.
struct Known {
  std::string name;              // one of the three above
  Tensor matrix;                 // [N, N]
  std::vector<double> singular;  // empty: not computed
  std::vector<double> entropy;   // of each row, bits
  std::vector<double> sums;      // of each row
  std::vector<double> mass;      // share of the absolute values at each distance
  bool precise = false;          // singular values are of the matrix in float64
};

struct HeadFacts {
  // The mixing matrix first; behind it, where there are such, F Z S without its convolution, and softmax's matrix.
  std::vector<Known> matrices;
  std::vector<double> logits;  // singular values of q k^T / sqrt(E) over real tokens; empty without q and k
  Index width = 0;             // E
};

// Singular values take N^3 steps: of longer inputs the page has none, and says so.
inline constexpr Index kMostSingular = 4096;

std::vector<HeadFacts> head_facts(const LayerSight& layer, const LayerMatrices& matrices,
                                  const nn::AttentionConfig& config);

const Known* named(const HeadFacts& head, const std::string& name);  // nullptr: there is none
const Known& approximation(const HeadFacts& head);                   // what softmax's matrix is compared with

}  // namespace subquad::inspect
