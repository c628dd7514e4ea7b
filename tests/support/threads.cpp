#include "subquad/tests/support/threads.h"

#include <cstdlib>
#include <string>

#include "subquad/core/parallel.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

// The n-th of three ways to run: so many threads, or that seed of the interpreter.
void choose_way(int n) {
  if (device().is_cpu())
    set_num_threads(n);
  else
    setenv("SUBQUAD_SIMT_SEED", std::to_string(n).c_str(), 1);
}

}  // namespace

bool same_for_any_thread_count(const std::function<std::vector<Tensor>()>& f) {
  const int threads = num_threads();
  const char* const seed = std::getenv("SUBQUAD_SIMT_SEED");
  const std::string seed_before = seed == nullptr ? "" : seed;
  choose_way(1);
  const std::vector<Tensor> first = f();
  bool same = true;
  for (const int way : {2, 3}) {
    choose_way(way);
    const std::vector<Tensor> other = f();
    same = same && other.size() == first.size();
    for (std::size_t i = 0; same && i < first.size(); ++i) same = same_bits(other[i], first[i]);
  }
  set_num_threads(threads);
  if (seed == nullptr)
    unsetenv("SUBQUAD_SIMT_SEED");
  else
    setenv("SUBQUAD_SIMT_SEED", seed_before.c_str(), 1);
  return same;
}

}  // namespace subquad::test
