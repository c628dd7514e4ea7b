// Positions: what tells the model where a token stands.
#pragma once

#include <string_view>

#include "subquad/nn/module.h"

namespace subquad::nn {

enum class PositionKind { none, learned, sinusoid };
PositionKind parse_positions(std::string_view name);  // Error lists the legal names
std::string_view position_name(PositionKind kind);

// table[p, 2i] = sin(p / 10000^(2i/D)), table[p, 2i+1] = cos(p / 10000^(2i/D))      Vaswani et al. 2017, section 3.5
Tensor sinusoid_table(Index positions, Index width, DType dtype, Device device);

// Adds row p of a table [max_length, width] to position p. A learned table is the parameter "weight", N(0,
// deviation^2); the sinusoid is a constant and in no state_dict; `none` adds nothing and takes any length.
class Positions : public Module {
 public:
  Positions(const Place& place, PositionKind kind, Index max_length, Index width, double deviation = 0.02);

  Variable operator()(const Variable& x) const;  // [B, N, width], N <= max_length (else ShapeError)

 private:
  PositionKind kind_;
  Index max_length_;
  Variable table_;
};

}  // namespace subquad::nn
