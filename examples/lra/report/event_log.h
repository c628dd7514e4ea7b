// A run's curves for TensorBoard (`tensorboard --logdir RUN`, also while it trains), made from the records of
// metrics.jsonl and timing.jsonl as they are written.
//
// A session writes a file of its own, RUN/events.out.tfevents.000001 and so on; TensorBoard reads them in this order.
// The file says at which step the session began, so that what an earlier one has written of later steps, and a killed
// run has lost, is forgotten. What is written twice with the same step (a test that is made again) has the same value.
#pragma once

#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/report/event_file.h"
#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

// What a record says of its step, by tag; nothing for records that are no points of a curve.
//
//   train/..., validation/..., test/...     every number of the records of these names: loss, accuracy, rate, ...; of the
//                                           last parameters, where others are the best: test/last_loss and so on
//   speed/tokens_per_second, speed/waiting_share, memory/tensors_MiB, memory/process_MiB
std::vector<Scalar> scalars(const Record& record);

class EventLog {
 public:
  EventLog(const RunFolder& folder, Index steps_done);
  void write(const Record& record);

 private:
  EventFile file_;
};

}  // namespace subquad::lra
