// Sizes of a call, and gradients of the parameters as kernels leave them: sets that are added up in order.
#pragma once

#include <algorithm>

#include "subquad/kernels/factor_mlp/factor_mlp.h"

namespace subquad::kernels::cuda {

struct MlpSizes {
  Index factors, rows, inputs, hidden, outputs;  // rows: B N

  MlpSizes(const Tensor& x, const FactorMlp& mlp)
      : factors(mlp.first.dim(0)),
        rows(x.dim(0) * x.dim(1)),
        inputs(x.dim(2)),
        hidden(mlp.first.dim(2)),
        outputs(mlp.second.dim(2)) {}
};

// One set of gradients: dA [M, I, H], da [M, H], dC [M, H, O], dc [M, O], each on 16 bytes.
struct GradSet {
  Index first, first_bias, second, second_bias, size;  // where they start

  explicit GradSet(const MlpSizes& s) {
    size = 0;
    const auto take = [&](Index count) {
      const Index start = size;
      size += (count + 3) / 4 * 4;
      return start;
    };
    first = take(s.factors * s.inputs * s.hidden);
    first_bias = take(s.factors * s.hidden);
    second = take(s.factors * s.hidden * s.outputs);
    second_bias = take(s.factors * s.outputs);
  }
};

// How the rows are cut for the gradients of the parameters, a set for each chunk: into so many that `blocks` blocks per
// chunk make a large device busy, of at least 256 rows and of whole tiles of 64, and so that all sets have at most 64
// MiB. A function of the shape alone, so that the sums have the same bits on every device.
struct RowChunks {
  Index rows, count;

  RowChunks(const MlpSizes& s, Index blocks, std::size_t bytes_of_set) {
    constexpr Index kBlocks = 528, kFewestRows = 256, kTile = 64;
    constexpr std::size_t kBytes = std::size_t{64} << 20;
    const auto affordable = static_cast<Index>(kBytes / std::max<std::size_t>(bytes_of_set, 1));
    const Index wanted = std::min({(kBlocks + blocks - 1) / blocks, affordable, s.rows / kFewestRows});
    const Index most = std::max<Index>(1, wanted);
    rows = ((s.rows + most - 1) / most + kTile - 1) / kTile * kTile;
    count = (s.rows + rows - 1) / rows;
  }
};

}  // namespace subquad::kernels::cuda
