// Shared by the checks of FSAT's golden kinds.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::test {

// The keys of every query as the lists of lags and columns name them: int64 [B, H, L, n_lag + n_col], -1 = none. Slot s
// of query i < n is (i + lags[s]) mod n, then cols[s], unless one of the lags leads there, too.
Tensor keys_of_queries(const Tensor& lags, const Tensor& cols, const Tensor& lengths, Index positions);

}  // namespace subquad::test
