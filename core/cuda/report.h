// How a kernel complains. It cannot throw, so the first complaint is written down and thrown by whoever next waits for
// the device (synchronize, to(kCpu), item): "cross_entropy: label 7 of sample 2 is outside [0, 4)".
#pragma once

#include "subquad/core/shape.h"

namespace subquad::cuda {

enum class Complaint : int {
  none,
  embedding_id,
  cross_entropy_label,
  gather_index,
  index_select_index,
  max_grad_index,
  adamw_step
};

// Lives in page-locked memory that device and host both see; one per device. The host reads the fields when they are
// written, and clears the report only while no kernel runs that might be writing it.
struct Report {
  int taken = 0;    // set by the first thread that complains; nobody else writes the rest
  int written = 0;  // set by the same thread after the rest
  Complaint what = Complaint::none;
  Index position = 0, value = 0, limit = 0;
};

Report* report();        // of the current device, for a kernel's argument list
bool has_complaint();    // at any time
void throw_complaint();  // only when the device is idle (wait): throws the complaint, if there is one, and clears it

}  // namespace subquad::cuda
