// What the tests of Combiner share: every legal combination of its options, masks, inputs, a module.
#pragma once

#include <memory>
#include <ostream>

#include "subquad/nn/attention/combiner.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::test::combiner {

struct Options {
  nn::CombinerConfig config;
  bool causal = false;

  bool projects() const;  // has parameters that make the summaries' keys
  friend std::ostream& operator<<(std::ostream& out, const Options& o);
};

// Every legal combination.
std::vector<Options> all_options(Index segment);

// One of each pattern, for tests that every pool and summary would only repeat.
std::vector<Options> patterns(Index segment);

Mask scattered_mask(Index batch, Index n);

// Of 3 samples: none, a prefix mask whose last sample has no token, a scattered one.
std::vector<Mask> masks(Index n);

struct Inputs {
  Variable q, k, v;
  nn::CombinerLearned learned;
  Mask mask;

  Variable run(const Options& o) const;
  // What the option reads, and that is all that gets a gradient.
  std::vector<Variable> leaves(const Options& o) const;
  Inputs moved_to(const Options& o, const std::vector<Variable>& leaves) const;
};

// Of 3 samples and 2 heads.
Inputs make_inputs(Index n, const Mask& mask, DType dtype);

// With parameters that are drawn anew; width 8, 2 heads.
std::unique_ptr<nn::Attention> make_module(const Options& o, DType dtype);

}  // namespace subquad::test::combiner
