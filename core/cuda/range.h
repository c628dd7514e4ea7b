// The op that runs, for error messages. Ranges are opened by on_device (core/device.h).
#pragma once

#include "subquad/core/device.h"

namespace subquad::cuda {

const char* current_op();  // of the innermost Range of this thread, "" outside of any

}  // namespace subquad::cuda
