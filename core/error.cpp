#include "subquad/core/error.h"

namespace subquad {

InternalError::InternalError(const std::string& what, const char* file, int line)
    : Error(cat("internal error: ", what, " (", file, ":", line, ")")) {}

}  // namespace subquad
