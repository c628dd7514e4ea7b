// Two synthetic tasks whose answer hangs on two positions far apart, as synth_data_generation.py in the official code
// of Yu et al. 2022 (Paramixer) makes them.
//
//   adding   position t holds (x_t, y_t), x_t uniform in (-1, 1], y_t = 1 at two positions p < q, 0 elsewhere;
//            target 1/2 + (x_p + x_q) / 4; an answer within 0.04 of it counts as right
//   order    symbols 0..3 everywhere, but 4 or 5 ("X" or "Y") by a fair coin at two positions p < q;
//            class 2 [second kind at p] + [second kind at q], so XX 0, XY 1, YX 2, YY 3
//
// p and q are any two different positions, all pairs alike. Item i of a set is a pure function of (seed, set, i,
// length): nothing is stored, and no two sets share items.
#pragma once

#include <string_view>

#include "subquad/core/tensor.h"

namespace subquad::adding_problem {

enum class Problem { adding, order };
Problem parse_problem(std::string_view name);  // Error lists the legal names
std::string_view problem_name(Problem problem);

inline constexpr double kRight = 0.04;
inline constexpr double kPlateauLoss = 1.0 / 24;  // mean squared error of always answering 1/2
bool on_plateau(double loss);                     // within a tenth of it
inline constexpr Index kSymbols = 6;
inline constexpr Index kOrders = 4;

enum class Set { train, validation, test };

struct Items {
  Tensor inputs;   // adding: float32 [B, N, 2]; order: int64 [B, N]
  Tensor targets;  // adding: float32 [B, 1];    order: int64 [B]
};

struct Source {
  Problem problem = Problem::adding;
  Index length = 128;  // N, at least 2
  std::uint64_t seed = 1;

  Items items(Set set, Index first, Index count) const;  // numbers first ... first + count - 1
};

}  // namespace subquad::adding_problem
