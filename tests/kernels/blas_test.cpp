#include "subquad/kernels/blas/blas.h"

#include <omp.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "subquad/core/error.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

using kernels::gemm;
using kernels::Matrix;

namespace {

int threads_of_this_process() {
  return static_cast<int>(std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}));
}

// The core that fits this processor; "" where the choice is left to OpenBLAS.
std::string expected_core() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return "SkylakeX";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
  return "";
}

// What this test program says when it runs one test case again, with a setting of its own.
std::string output_of_child(const std::string& setting, const std::string& test_case) {
  const std::string command = setting + " /proc/" + std::to_string(getpid()) + "/exe -tc='" + test_case + "'";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  std::array<char, 256> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  CHECK_EQ(pclose(pipe), 0);
  return text;
}

}  // namespace

TEST_SUITE("cpu") {
  TEST_CASE("blas runs kernels of this processor") {
    const std::string core = kernels::blas_core_name();
    MESSAGE("OpenBLAS core: ", core);
    CHECK(!core.empty());
    const bool by_user = std::getenv("OPENBLAS_CORETYPE") != nullptr;
    if (!by_user && !expected_core().empty()) CHECK_EQ(core, expected_core());
  }

  TEST_CASE("blas leaves no core type behind in the environment") {
    const bool by_user = std::getenv("OPENBLAS_CORETYPE") != nullptr;
    kernels::blas_core_name();
    CHECK_EQ(std::getenv("OPENBLAS_CORETYPE") != nullptr, by_user);
  }

  TEST_CASE("blas lets the user choose the core type") {
    const std::string text = output_of_child("OPENBLAS_CORETYPE=Nehalem", "blas runs kernels of this processor");
    CHECK_MESSAGE(text.find("OpenBLAS core: Nehalem") != std::string::npos, text);
  }

  TEST_CASE("blas gemm reads parts and transposes, and does not read c when beta is 0") {
    const std::vector<double> a = {1, 2, 3, 4, 5, 6};  // [2, 3]
    const std::vector<double> b = {1, 0, 2, 1, 0, 3};  // [3, 2]
    const double nan = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> c(4, nan);
    gemm(2, 2, 3, 1.0, {a.data(), 3}, {b.data(), 2}, 0.0, {c.data(), 2});
    CHECK_EQ(c, std::vector<double>{5, 11, 14, 23});
    // The same operands, read as the transposes of [3, 2] and [2, 3]: a' = {1 3 5; 2 4 6}, b' = {1 1; 0 0; 2 3}.
    gemm(2, 2, 3, 2.0, {a.data(), 2, true}, {b.data(), 3, true}, 1.0, {c.data(), 2});
    CHECK_EQ(c, std::vector<double>{5 + 2 * 11, 11 + 2 * 16, 14 + 2 * 14, 23 + 2 * 20});
    const Matrix<const double> part = Matrix<const double>{a.data(), 3}.from(1, 1);  // {5 6}
    gemm(1, 2, 2, 1.0, part, {b.data(), 2}, 0.0, {c.data(), 2});
    CHECK_EQ(c[0], 5 * 1 + 6 * 2);
    CHECK_EQ(c[1], 6 * 1);
  }

  TEST_CASE("blas leaves the caller's OpenMP thread count alone") {
    const int before = omp_get_max_threads();
    const float a = 2, b = 3;
    float c = 0;
    gemm(1, 1, 1, 1.0f, {&a, 1}, {&b, 1}, 0.0f, {&c, 1});
    CHECK_EQ(c, 6);
    CHECK_EQ(omp_get_max_threads(), before);
  }

  TEST_CASE("blas works on the calling thread: a large product starts no others") {
    constexpr std::size_t kSize = 512;
    const std::vector<float> a(kSize * kSize, 1), b(kSize * kSize, 2);
    std::vector<float> c(kSize * kSize);
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads_of_this_process() + 6);  // more than OpenMP has started so far
    const int started = threads_of_this_process();
    gemm(kSize, kSize, kSize, 1.0f, {a.data(), kSize}, {b.data(), kSize}, 0.0f, {c.data(), kSize});
    CHECK_EQ(threads_of_this_process(), started);
    omp_set_num_threads(before);
    CHECK_EQ(c.back(), 2 * kSize);
  }

  TEST_CASE("blas says what is wrong with a library and what to install") {
    std::string text;
    try {
      kernels::open_openblas({"/nowhere/libopenblas.so.0", "libm.so.6"});
    } catch (const Error& error) {
      text = error.what();
    }
    CHECK_MESSAGE(text.find("blas: found no OpenBLAS built with OpenMP (") == 0, text);
    CHECK_MESSAGE(text.find("/nowhere/libopenblas.so.0: cannot open shared object file") != std::string::npos, text);
    CHECK_MESSAGE(text.find("libm.so.6: not an OpenBLAS") != std::string::npos, text);
    CHECK_MESSAGE(text.find("install libopenblas0-openmp (Debian, Ubuntu)") != std::string::npos, text);
  }

  TEST_CASE("blas names a missing function and a size that OpenBLAS cannot take") {
    CHECK_THROWS_WITH_AS(kernels::blas_symbol("no_such_function"),
                         "blas: the OpenBLAS that was opened has no no_such_function", Error);
    const float x = 0;
    float c = 0;
    CHECK_THROWS_WITH_AS(gemm(1, 1, Index{1} << 31, 1.0f, {&x, 1}, {&x, 1}, 0.0f, {&c, 1}),
                         "blas: an extent or row stride of 2147483648, expected at most 2147483647, the largest that "
                         "OpenBLAS takes",
                         ShapeError);
  }

}  // TEST_SUITE

}  // namespace subquad::test
