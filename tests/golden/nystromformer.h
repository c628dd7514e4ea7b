// What the checks of Nystromformer's files share: options out of metadata.
#pragma once

#include "subquad/nn/attention/config.h"
#include "subquad/tests/golden/golden_file.h"

namespace subquad::test {

// The mechanism's options. Error that names key and value when one is not understood.
nn::NystromConfig nystrom_options(const GoldenFile& file);

}  // namespace subquad::test
