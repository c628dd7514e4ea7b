#include "subquad/core/error.h"

namespace subquad {

InternalError::InternalError(const std::string& what, std::source_location where)
    : Error(cat("internal error: ", what, " (", where.file_name(), ":", where.line(), ")")) {}

}  // namespace subquad
