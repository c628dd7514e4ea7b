// What the tests of chord_matmul share: cases, and its equations by way of dense matrices in double.
#pragma once

#include <vector>

#include "subquad/kernels/chord_matmul/chord_matmul.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test::chord_cases {

struct ChordCase {
  Index batch = 2, positions = 8, width = 3;
  std::vector<kernels::Links> links = {kernels::chord_links(4)};
  kernels::MixResidual residual = kernels::MixResidual::none;
  bool shared = false;                     // weights without the axis B
  std::vector<std::int64_t> lengths = {};  // empty: no mask

  Mask mask() const;
  Shape weights_shape() const;  // of a chain
  Shape values_shape() const { return {batch, positions, width}; }
};
std::ostream& operator<<(std::ostream& out, const ChordCase& c);

// Every rule alone and in chains, every residual, with and without masks; N = 1, 2, primes, powers of two and others.
std::vector<ChordCase> cases();

std::vector<kernels::Links> chord(Index factors);
std::vector<kernels::Links> cdil(Index factors, Index count);
std::vector<kernels::Links> butterfly(Index factors);

struct Expected {
  Tensor out, dweights, dvalues;
};
Expected slow_chain(const ChordCase& c, const Tensor& weights, const Tensor& values, const Tensor& dout);

// Factor m of sample b as a dense [n, n] matrix, by adding up what stands at its links.
Tensor dense_factor(const ChordCase& c, const Tensor& weights, Index m, Index b);

}  // namespace subquad::test::chord_cases
