#include "subquad/core/precision.h"

#include <ostream>

#include "subquad/core/error.h"

namespace subquad {
namespace {
thread_local Precision current = Precision::fp32;
}

std::string_view precision_name(Precision precision) {
  switch (precision) {
    case Precision::fp32: return "fp32";
    case Precision::tf32: return "tf32";
    case Precision::bf16: return "bf16";
  }
  throw InternalError("precision_name: out of range");
}

std::ostream& operator<<(std::ostream& out, Precision precision) {
  return out << precision_name(precision);
}

Precision parse_precision(std::string_view name) {
  for (const Precision p : {Precision::fp32, Precision::tf32, Precision::bf16})
    if (name == precision_name(p)) return p;
  throw Error(cat("precision: '", name, "' is unknown, expected fp32, tf32 or bf16"));
}

Precision precision() {
  return current;
}

PrecisionGuard::PrecisionGuard(Precision precision) : before_(current) {
  current = precision;
}

PrecisionGuard::~PrecisionGuard() {
  current = before_;
}

}  // namespace subquad
