// What the checks of Nystromformer's files share: options out of metadata.
#pragma once

#include "subquad/core/safetensors.h"
#include "subquad/nn/attention/config.h"

namespace subquad::test {

// The text under a key; Error when it is missing.
const std::string& golden_option(const SafetensorsFile& file, const std::string& key);
Index golden_number(const SafetensorsFile& file, const std::string& key);

// The mechanism's options. Error that names key and value when one is not understood.
nn::NystromConfig nystrom_options(const SafetensorsFile& file);

}  // namespace subquad::test
