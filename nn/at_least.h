// Sizes that a config has to have.
#pragma once

#include "subquad/core/error.h"
#include "subquad/core/shape.h"

namespace subquad::nn {

// Error "what: option is 0, expected at least 1".
inline void check_at_least(const char* what, const char* option, Index value, Index least) {
  if (value < least) throw Error(cat(what, ": ", option, " is ", value, ", expected at least ", least));
}

}  // namespace subquad::nn
