#include "subquad/bench/kernel/provenance.h"

#include <sched.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "subquad/core/runtime.h"
#include "subquad/kernels/blas/blas.h"

namespace subquad::bench {

namespace {

// Of one core; empty where the system does not tell.
std::string processor(int core, const std::string& name) {
  std::ifstream file("/proc/cpuinfo");
  int cores = -1;
  for (std::string text; std::getline(file, text);) {
    if (text.starts_with("processor")) ++cores;
    if (cores == core && text.starts_with(name)) return text.substr(std::min(text.find(": ") + 2, text.size()));
  }
  return {};
}

}  // namespace

nlohmann::ordered_json provenance() {
  const auto blas_config = reinterpret_cast<const char* (*)()>(kernels::blas_symbol("openblas_get_config"));
  const std::string model = processor(0, "model name"), clock = processor(sched_getcpu(), "cpu MHz");
  nlohmann::ordered_json json = {{"commit", commit()},
                                 {"compiler", __VERSION__},
                                 {"flags", SUBQUAD_FLAGS},
                                 {"simd", simd_target()},
                                 {"blas", blas_config()},
                                 {"blas_core", kernels::blas_core_name()},
                                 {"cpu", model.empty() ? "unknown" : model}};
  if (!clock.empty()) json["clock_mhz"] = std::stod(clock);
  return json;
}

}  // namespace subquad::bench
