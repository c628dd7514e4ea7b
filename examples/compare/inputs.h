// Queries, keys and values for a comparison: drawn with a structure that is known, or read from files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::compare {

// One head: float32, contiguous, [N, E] each.
struct Inputs {
  std::string name;
  Tensor q, k, v;

  Index positions() const { return q.dim(0); }
  Index width() const { return q.dim(1); }
};

// What the weights softmax_j(q_i . k_j / sqrt(E)) look like. n, m and all that is not named are standard normals, drawn
// anew for each feature; indices run modulo N.
//
//   random    q_i, k_j, v_j independent                    logits of variance 1: nothing to find
//   smooth    z(i) = sum_{c=1}^{8} (a_c cos(2 pi c i / N) + b_c sin(2 pi c i / N)) / sqrt(8), three of them
//             q = z1, k = (z1 + z2) / sqrt(2), v = z3      what is near is alike: a ridge along the diagonal
//   peaked    q_i = 2 k_{p(i)}, p a random permutation     each query looks for one key, anywhere
//   stripes   q_i = 1.2 (k_{i-1} + k_{i+N/5}) + 0.7 u      two diagonals, and four random columns C, whose keys have
//             k_j = n_j + 1.5 u [j in C]                   a direction u of +-1 that all queries look for
enum class InputKind { random, smooth, peaked, stripes };
InputKind parse_input_kind(std::string_view name);  // Error that lists the names
std::string_view input_kind_name(InputKind kind);

// N >= 8, E >= 1. The same numbers for the same seed on any machine with the same libm.
Inputs make_inputs(InputKind kind, Index positions, Index width, std::uint64_t seed);

// q.npy, k.npy and v.npy of a folder: float32 or float64, [N, E], all of one shape; N >= 8. Error that names the file.
Inputs read_inputs(const std::filesystem::path& folder);

}  // namespace subquad::compare
