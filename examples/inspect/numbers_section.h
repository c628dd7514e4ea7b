// The part of the page that says what a head's matrices are like in numbers: spectra and ranks, entropies, weight by
// distance.
#pragma once

#include "subquad/examples/inspect/head_facts.h"
#include "subquad/examples/inspect/parts.h"

namespace subquad::inspect {

Json numbers_section(const HeadFacts& head, const nn::AttentionConfig& config);

}  // namespace subquad::inspect
