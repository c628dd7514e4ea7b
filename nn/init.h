// Starting values of parameters. An initialiser fills a tensor from one stream of a seed; a parameter's stream is that
// of its full name, so that its values depend on the seed and the name, never on the order in which modules are made.
#pragma once

#include <functional>

#include "subquad/core/tensor.h"

namespace subquad::nn {

// `out`: contiguous, CPU, float32 or float64.
using Init = std::function<void(Tensor& out, std::uint64_t seed, std::uint64_t stream)>;

Init zeros_init();
Init ones_init();
Init normal_init(double deviation, double mean = 0);
Init uniform_init(double low, double high);

// For weights [inputs, outputs] (rank 2).
Init xavier_uniform();   // U(-a, a), a = sqrt(6 / (inputs + outputs))       Glorot and Bengio 2010, eq. 16
Init xavier_normal();    // N(0, 2 / (inputs + outputs))                     ibid., eq. 12
Init kaiming_uniform();  // U(-a, a), a = sqrt(6 / inputs), before a ReLU    He et al. 2015, eq. 10
Init kaiming_normal();   // N(0, 2 / inputs), before a ReLU                  ibid.

}  // namespace subquad::nn
