// Loops over threads. Work is cut by shape, never by thread count, so that results do not depend on it.
#pragma once

#include <omp.h>

#include <algorithm>
#include <exception>

#include "subquad/core/shape.h"

namespace subquad {

// Threads that parallel_for may use: SUBQUAD_NUM_THREADS, else OMP_NUM_THREADS, else the processors this process may
// run on. Set once, by main.
int num_threads();
void set_num_threads(int threads);

// Sets flush-to-zero and denormals-are-zero in the calling thread and in every thread of the pool.
void flush_denormals();

// Calls f(i) for every i in [0, count), on several threads when that pays. `work` is a rough count of operations per
// item: loops under about 50 microseconds run serially, and so does a loop inside another. An exception of f reaches
// the caller (the first by index order is not promised, one is). Deterministic as long as each i writes its own
// elements.
template <class F>
void parallel_for(Index count, Index work, F&& f) {
  constexpr Index kSerialWork = 100'000;  // operations: about 50 microseconds of scalar code on one core
  const Index threads = std::min<Index>(num_threads(), count);
  if (threads <= 1 || count * std::max<Index>(work, 1) < kSerialWork || omp_in_parallel()) {
    for (Index i = 0; i < count; ++i) f(i);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(threads))
  for (Index i = 0; i < count; ++i) {
    try {
      f(i);
    } catch (...) {
#pragma omp critical(subquad_parallel_for_failure)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// Cuts [0, count) into chunks of `chunk` items (the last may be shorter) and calls f(begin, end) for each.
template <class F>
void parallel_chunks(Index count, Index chunk, Index work, F&& f) {
  const Index chunks = (count + chunk - 1) / chunk;
  parallel_for(chunks, chunk * work, [&](Index c) { f(c * chunk, std::min(count, (c + 1) * chunk)); });
}

}  // namespace subquad
