#include "subquad/core/parallel.h"

#include <sched.h>

#include <cstdlib>
#include <string>

#include "subquad/core/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace subquad {
namespace {

// A positive number in the environment variable, 0 when it is not set.
int threads_from(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (value < 1 || value > 4096 || (*end != '\0' && *end != ',')) {
    throw Error(cat(variable, ": '", text, "' is not a number of threads"));
  }
  return static_cast<int>(value);
}

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

int initial_threads() {
  for (const char* variable : {"SUBQUAD_NUM_THREADS", "OMP_NUM_THREADS"})
    if (const int threads = threads_from(variable); threads > 0) return threads;
  return available_processors();
}

int& thread_count() {
  static int threads = initial_threads();
  return threads;
}

void flush_denormals_here() {
#if defined(__x86_64__)
  _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
  _mm_setcsr(_mm_getcsr() | 0x40u);  // denormals are zero
#endif
}

}  // namespace

int num_threads() {
  return thread_count();
}

void set_num_threads(int threads) {
  if (threads < 1) throw Error(cat("set_num_threads: ", threads, ", expected at least 1"));
  thread_count() = threads;
}

void flush_denormals() {
  flush_denormals_here();
#pragma omp parallel num_threads(num_threads())
  flush_denormals_here();
}

}  // namespace subquad
