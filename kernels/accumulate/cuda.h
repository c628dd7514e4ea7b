#pragma once

#include "subquad/kernels/accumulate/accumulate.h"

namespace subquad::kernels::cuda {

void accumulate(std::vector<Addition>& additions);  // checked, of one dtype, none of them empty

}  // namespace subquad::kernels::cuda
