// Shared by the checks of FSAT's golden kinds.
#pragma once

#include "subquad/tests/golden/golden_file.h"

namespace subquad::test {

// The keys of every query as the lists of lags and columns name them: int64 [B, H, L, n_lag + n_col], -1 = none. Slot s
// of query i < n is (i + lags[s]) mod n, then cols[s], unless one of the lags leads there, too.
Tensor keys_of_queries(const Tensor& lags, const Tensor& cols, const Tensor& lengths, Index positions);

// The smallest gap over all rows of keys [B, H, L] between the last one taken and the first one left; inf where none is
// left or none is taken. The indices t mod n with |t| <= window are taken first and by no key.
double choice_margin(const Tensor& keys, const Tensor& lengths, Index count, Index window);

// What stands in GoldenErrors::left_out where float32 cannot tell which keys are the largest.
inline constexpr const char* kChoiceLeftOut =
    "choices compared in float64 only: their margin is below float32's rounding";

}  // namespace subquad::test
