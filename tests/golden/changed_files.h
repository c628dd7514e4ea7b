// Golden files that tests of the reader make: of this folder's, changed, or their own.
#pragma once

#include <string>

#include "subquad/core/safetensors.h"

namespace subquad::test {

// tests/golden/<name>.safetensors.
SafetensorsFile file_here(const std::string& name);

Tensor twice(const Tensor& t);                            // [2 n, ...] of [n, ...]
Tensor moved_at(const Tensor& t, Index flat, double by);  // `t` with one element larger by that much

// Butterfly links 0 and 1 of 4 positions: rows 0 and 1 see each other, and so do 2 and 3.
SafetensorsFile butterfly_case();

// Five tokens without a mask and eight landmarks, all logits 0: lucidrains' code puts three zeros in front, and every
// token gets an eighth of the sum of v. Softmax attention would give a fifth.
SafetensorsFile zeros_in_front_case();

// A Combiner file with summaries of its blocks of 2, 4, ... tokens: the maxima of scaled queries and of keys, and the
// values under a softmax of the maximal query's products with the block's keys.
SafetensorsFile with_level_summaries(SafetensorsFile file);

// An FSAT module with noise such that in every row the first column left is 1e-12 behind the last one taken: the choice
// and all that follows from it stay as they are.
SafetensorsFile nearly_tied(SafetensorsFile file);

}  // namespace subquad::test
