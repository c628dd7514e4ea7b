// Where the nonzeros of a sparse N x N factor stand. The pattern is the same for every row; only the weights differ.
//
//   circular   link k of row i stands in column (i + offsets[k]) mod n
//   flip       link k of row i stands in column i XOR offsets[k]; a column that is not there drops out
//
// n is the number of positions that a sample really has. Two links of a row may share a column: their weights add up.
// Source: LRA/paramixer.py of Yu et al. 2022; flip is the classical butterfly of the fast Fourier transform.
#pragma once

#include <vector>

#include "subquad/core/shape.h"

namespace subquad::kernels {

enum class LinkRule { circular, flip };

struct Links {
  LinkRule rule = LinkRule::circular;
  std::vector<Index> offsets;  // any sign and size with circular, >= 0 with flip

  Index count() const { return static_cast<Index>(offsets.size()); }
};

Links chord_links(Index count);  // 0, 1, 2, 4, ...: `count` of them, 1 to 63
Links cdil_links(Index dilation,
                 Index count);          // 0, d, 2 d, ..., -d, -2 d, ...: `count` of them, odd; d = dilation >= 1
Links butterfly_links(Index distance);  // i and i XOR distance, a power of two

// The column that link k of a row addresses among `positions`; -1 where it drops out. 0 <= row < positions.
Index linked_column(const Links& links, Index row, Index k, Index positions);

// The links of the transposed factor: row i stands among the columns that `links` gives row j exactly where j stands
// among those that mirrored(links) gives row i, at the same k.
Links mirrored(const Links& links);

// What is added to W V: nothing, the values that go into this factor, or those that went into the first one.
enum class MixResidual { running, fixed, none };

}  // namespace subquad::kernels
