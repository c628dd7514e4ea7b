// Real positions moved to the front and back (kernels/compact): how a mechanism that needs prefix lengths takes any
// mask.
//
//   const Mask front = kernels::compact(in.mask);
//   return spread(mix(compact(x, in.mask), front), in.mask);      // where mask.prefix holds, nothing is moved
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/compact/compact.h"

namespace subquad {

// x [B, .., N, ..], positions along `dim`; results are 0 where no real token stands. With a prefix mask, or an
// undefined one, the result is x itself.
Variable compact(const Variable& x, const Mask& mask, int dim = 1);
Variable spread(const Variable& x, const Mask& mask, int dim = 1);

}  // namespace subquad
