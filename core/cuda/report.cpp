#include "subquad/core/cuda/report.h"

#include <cuda_runtime.h>

#include <atomic>
#include <map>
#include <mutex>
#include <new>

#include "subquad/core/cuda/error.h"
#include "subquad/core/cuda/runtime.h"

namespace subquad::cuda {
namespace {

// In the words of the CPU's doors.
std::string message(const Report& r) {
  switch (r.what) {
    case Complaint::none: break;
    case Complaint::embedding_id:
      return cat("embedding: ids[", r.position, "] is ", r.value, ", expected 0 <= id < ", r.limit,
                 ", the rows of the table");
    case Complaint::cross_entropy_label:
      return cat("cross_entropy: label ", r.value, " of sample ", r.position, " is outside [0, ", r.limit, ")");
    case Complaint::gather_index:
      return cat("gather: index[", r.position, "] is ", r.value, ", expected 0 <= index < ", r.limit);
    case Complaint::index_select_index:
      return cat("index_select: index[", r.position, "] is ", r.value, ", expected 0 <= index < ", r.limit);
    case Complaint::max_grad_index:
      return cat("max_grad: indices[", r.position, "] is ", r.value, ", expected 0 <= index < ", r.limit);
    case Complaint::adamw_step:
      return cat("adamw: step is ", r.value, ", expected at least ", r.limit, ": the first step is 1");
  }
  throw InternalError("report: a kernel complained without saying of what");
}

}  // namespace

Report* report() {
  static std::mutex mutex;
  static std::map<int, Report*>& reports = *new std::map<int, Report*>;
  const std::lock_guard lock(mutex);
  Report*& found = reports[current_device()];
  if (found == nullptr) {
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, sizeof(Report), cudaHostAllocMapped), "cudaHostAlloc");
    found = new (memory) Report;
  }
  return found;
}

bool has_complaint() {
  return std::atomic_ref(report()->written).load(std::memory_order_acquire) != 0;
}

void throw_complaint() {
  if (!has_complaint()) return;
  const Report first = *report();
  *report() = {};
  throw Error(message(first));
}

}  // namespace subquad::cuda
