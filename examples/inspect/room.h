// The memory that the matrices of a page need: they are N x N, and all of a model's layers and heads are kept until the
// page is written.
#pragma once

#include "subquad/examples/inspect/sight.h"
#include "subquad/nn/attention/config.h"

namespace subquad::inspect {

// Bytes, from above: mixing matrices, softmax's, and what the mechanism decided. Measured: README.md.
double matrix_bytes(const Sight& sight, const nn::AttentionConfig& config);

// Three quarters of what is free on this machine; 8 GB where it does not say.
double free_bytes();

// Error that names the input's length and the options that help, where they need more than `gigabytes`; 0: than
// free_bytes().
void check_room(const Sight& sight, const nn::AttentionConfig& config, double gigabytes);

}  // namespace subquad::inspect
