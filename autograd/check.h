// Checks at the door of what takes Variables, in the words of core/check.h.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/core/check.h"

namespace subquad {

// Error "op: name is undefined".
inline void check_defined(const char* op, const char* name, const Variable& x) {
  check_defined(op, name, x.defined() ? x.value() : Tensor());
}

}  // namespace subquad
