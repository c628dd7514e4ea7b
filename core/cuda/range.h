// The name of the op that runs: profilers show it (NVTX), error messages name it.
#pragma once

namespace subquad::cuda {

// `op` must outlive the range (a literal). Ranges nest.
class Range {
 public:
  explicit Range(const char* op);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  const char* before_;
};

const char* current_op();  // the innermost, "" outside of any

}  // namespace subquad::cuda
