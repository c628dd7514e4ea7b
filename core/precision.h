// How matrix products and attention compute on float32 tensors. Storage, sums, softmax and master weights stay float32
// whatever is chosen; float64 tensors are not affected.
#pragma once

#include <iosfwd>
#include <string_view>

namespace subquad {

enum class Precision {
  fp32,  // full float32 (the default)
  tf32,  // operands rounded to 10 bits of mantissa, CUDA only
  bf16,  // operands rounded to bfloat16, CUDA only
};

std::string_view precision_name(Precision precision);
std::ostream& operator<<(std::ostream& out, Precision precision);
Precision parse_precision(std::string_view name);  // Error listing the names for any other spelling

// The one in use by this thread, fp32 unless a guard says otherwise. The CPU ignores it: it always computes in fp32.
Precision precision();

class PrecisionGuard {
 public:
  explicit PrecisionGuard(Precision precision);
  ~PrecisionGuard();
  PrecisionGuard(const PrecisionGuard&) = delete;
  PrecisionGuard& operator=(const PrecisionGuard&) = delete;

 private:
  Precision before_;
};

}  // namespace subquad
