#include "subquad/kernels/blas/blas.h"

#include <cblas.h>
#include <dlfcn.h>
#include <omp.h>

#include <cstdlib>
#include <limits>

#include "subquad/core/error.h"

namespace subquad::kernels {

namespace {

constexpr const char* kCoreVariable = "OPENBLAS_CORETYPE";
constexpr int kOpenMp = 2;  // what openblas_get_parallel() answers; 0 = one thread, 1 = threads of its own

// The fastest kernels that OpenBLAS has and this processor can run; nullptr leaves the choice to OpenBLAS.
const char* best_core() {
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (avx512) return "SkylakeX";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
  return nullptr;
}

// Sets the core type for as long as the library is being opened, unless the user has set one.
class CoreChoice {
 public:
  CoreChoice() {
    const char* core = best_core();
    ours_ = core != nullptr && std::getenv(kCoreVariable) == nullptr;
    if (ours_) setenv(kCoreVariable, core, 0);
  }
  ~CoreChoice() {
    if (ours_) unsetenv(kCoreVariable);
  }
  CoreChoice(const CoreChoice&) = delete;
  CoreChoice& operator=(const CoreChoice&) = delete;

 private:
  bool ours_ = false;
};

// OpenBLAS asks OpenMP how many threads it may use; while one of these lives the answer in this thread is one.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

template <class Function>
Function* symbol(void* handle, const char* name) {
  void* found = dlsym(handle, name);
  if (found == nullptr) throw Error(cat("blas: the OpenBLAS that was opened has no ", name));
  return reinterpret_cast<Function*>(found);
}

struct Library {
  void* handle;
  decltype(&cblas_sgemm) sgemm;
  decltype(&cblas_dgemm) dgemm;
  decltype(&openblas_get_corename) core_name;
};

const Library& library() {
  static const Library opened = [] {
    const CoreChoice choice;
    // Where the build found it, then the names of the OpenMP build on Fedora and of the system's default.
    void* handle = open_openblas({SUBQUAD_OPENBLAS_LIBRARY, "libopenblaso.so.0", "libopenblas.so.0"});
    return Library{handle, symbol<decltype(cblas_sgemm)>(handle, "cblas_sgemm"),
                   symbol<decltype(cblas_dgemm)>(handle, "cblas_dgemm"),
                   symbol<decltype(openblas_get_corename)>(handle, "openblas_get_corename")};
  }();
  return opened;
}

blasint blas_int(Index value) {
  if (value > std::numeric_limits<blasint>::max())
    throw ShapeError(cat("blas: an extent or row stride of ", value, ", expected at most ",
                         std::numeric_limits<blasint>::max(), ", the largest that OpenBLAS takes"));
  return static_cast<blasint>(value);
}

template <class T, class Gemm>
void call(Gemm* gemm, Index m, Index n, Index k, T alpha, Matrix<const T> a, Matrix<const T> b, T beta, Matrix<T> c) {
  const OneThread guard;
  const auto order = [](const Matrix<const T>& operand) { return operand.transposed ? CblasTrans : CblasNoTrans; };
  gemm(CblasRowMajor, order(a), order(b), blas_int(m), blas_int(n), blas_int(k), alpha, a.data, blas_int(a.ld), b.data,
       blas_int(b.ld), beta, c.data, blas_int(c.ld));
}

}  // namespace

void* open_openblas(const std::vector<std::string>& libraries) {
  std::string tried;
  for (const std::string& path : libraries) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      tried += cat(dlerror(), "; ");
      continue;
    }
    const auto parallel = reinterpret_cast<decltype(&openblas_get_parallel)>(dlsym(handle, "openblas_get_parallel"));
    if (parallel != nullptr && parallel() == kOpenMp) return handle;
    tried += cat(path, ": ", parallel == nullptr ? "not an OpenBLAS" : "an OpenBLAS built without OpenMP", "; ");
    dlclose(handle);
  }
  throw Error(cat("blas: found no OpenBLAS built with OpenMP (", tried,
                  "none left to try); install libopenblas0-openmp (Debian, Ubuntu) or openblas-openmp (Fedora)"));
}

void gemm(Index m, Index n, Index k, float alpha, Matrix<const float> a, Matrix<const float> b, float beta,
          Matrix<float> c) {
  call(library().sgemm, m, n, k, alpha, a, b, beta, c);
}

void gemm(Index m, Index n, Index k, double alpha, Matrix<const double> a, Matrix<const double> b, double beta,
          Matrix<double> c) {
  call(library().dgemm, m, n, k, alpha, a, b, beta, c);
}

std::string blas_core_name() {
  return library().core_name();
}

void* blas_symbol(const char* name) {
  return reinterpret_cast<void*>(symbol<void()>(library().handle, name));
}

}  // namespace subquad::kernels
