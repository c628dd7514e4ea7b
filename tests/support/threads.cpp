#include "subquad/tests/support/threads.h"

#include "subquad/core/parallel.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

bool same_for_any_thread_count(const std::function<std::vector<Tensor>()>& f) {
  const int before = num_threads();
  set_num_threads(1);
  const std::vector<Tensor> alone = f();
  bool same = true;
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    const std::vector<Tensor> shared = f();
    same = same && shared.size() == alone.size();
    for (std::size_t i = 0; same && i < alone.size(); ++i) same = same_bits(shared[i], alone[i]);
  }
  set_num_threads(before);
  return same;
}

}  // namespace subquad::test
