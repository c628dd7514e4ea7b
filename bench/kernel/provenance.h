// What a figure was measured with: every record bears it.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace subquad::bench {

// "0123456789ab", "-dirty" behind it where files differ from it, or "unknown"; of when the program was built.
const char* commit();

// commit, compiler, flags, simd, blas (OpenBLAS's version and options), blas_core, cpu (its model), and clock_mhz, of
// the core we run on at this moment, where the system tells.
nlohmann::ordered_json provenance();

}  // namespace subquad::bench
