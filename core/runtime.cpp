#include "subquad/core/runtime.h"

#include <hwy/targets.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "subquad/core/error.h"

namespace subquad {
namespace {

struct Target {
  const char* name;
  std::int64_t bit;  // Highway's
};
constexpr Target kTargets[] = {{"avx512", HWY_AVX3}, {"avx2", HWY_AVX2}, {"scalar", HWY_SCALAR}};

bool offered(const Target& target) {
  return target.bit == HWY_SCALAR || (hwy::SupportedTargets() & target.bit) != 0;
}

const Target& find_target(const char* asked_by, std::string_view name) {
  std::string names;
  for (const Target& target : kTargets) {
    if (!offered(target)) continue;
    if (name == target.name) return target;
    names += cat(names.empty() ? "" : ", ", target.name);
  }
  throw Error(cat(asked_by, ": SIMD target \"", name, "\", expected one of those this processor offers: ", names));
}

std::atomic<const Target*> chosen{nullptr};

void choose(const Target& target) {
  hwy::GetChosenTarget().Update(target.bit);  // from now on every dispatch table answers with this target's function
  chosen = &target;
}

}  // namespace

std::vector<std::string> simd_targets() {
  std::vector<std::string> names;
  for (const Target& target : kTargets)
    if (offered(target)) names.emplace_back(target.name);
  return names;
}

std::string simd_target() {
  choose_simd_target();
  return chosen.load()->name;
}

void set_simd_target(std::string_view name) {
  choose(find_target("set_simd_target", name));
}

void choose_simd_target() {
  if (chosen.load(std::memory_order_acquire) != nullptr) return;
  const char* wanted = std::getenv("SUBQUAD_SIMD");
  choose(wanted != nullptr ? find_target("SUBQUAD_SIMD", wanted) : find_target("simd_target", simd_targets().front()));
}

}  // namespace subquad
