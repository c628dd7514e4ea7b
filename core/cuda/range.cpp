#include "subquad/core/cuda/range.h"

#include <nvtx3/nvToolsExt.h>

namespace subquad::cuda {
namespace {
thread_local const char* innermost = "";
}

Range::Range(const char* op) : op_(op), before_(innermost) {
  if (op_ == nullptr) return;
  innermost = op_;
  nvtxRangePushA(op_);
}

Range::~Range() {
  if (op_ == nullptr) return;
  nvtxRangePop();
  innermost = before_;
}

const char* current_op() {
  return innermost;
}

}  // namespace subquad::cuda
