// A Paramixer's factors and their product in float64, of the weights that it computes: what is left to see of its rank
// where float32 has rounded it away.
#pragma once

#include "subquad/examples/inspect/sight.h"
#include "subquad/nn/attention/config.h"

namespace subquad::inspect {

struct ParamixerFactors {
  std::vector<Tensor>
      factors;     // [n, n] over the n positions that are mixed: I + W_m with the running residual, else W_m
  Tensor product;  // [n, n]: what all of them do, by equation V_m of nn/attention/paramixer.h
};

// `layer` holds a Paramixer. Memory of the factors M n^2; they are left out where n > most.
ParamixerFactors paramixer_factors(const LayerSight& layer, const nn::ParamixerConfig& config, Index most);

// Positions that are mixed: all, but for a mask's padding.
std::vector<Index> mixed_positions(const LayerSight& layer, bool mix_padding);

}  // namespace subquad::inspect
