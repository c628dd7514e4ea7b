// The stand-in of cuBLAS, and how refused calls become errors.
#include <cublas_v2.h>

#include <limits>
#include <string>
#include <vector>

#include "subquad/core/device.h"
#include "subquad/kernels/cublas/gemm.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

using kernels::cuda::FloatProduct;
using kernels::cuda::gemm;
using kernels::cuda::Matrices;

namespace {

cublasHandle_t handle() {
  static const cublasHandle_t made = [] {
    cublasHandle_t h = nullptr;
    REQUIRE_EQ(cublasCreate(&h), CUBLAS_STATUS_SUCCESS);
    return h;
  }();
  return made;
}

// 2x2 products with everything legal but what a test changes.
struct Call {
  cublasOperation_t transa = CUBLAS_OP_N, transb = CUBLAS_OP_N;
  std::int64_t m = 2, n = 2, k = 2, lda = 2, ldb = 2, ldc = 2;
  cudaDataType operands = CUDA_R_32F, result = CUDA_R_32F;
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;

  cublasStatus_t status() const {
    const double factor = 0;
    return cublasGemmEx_64(handle(), transa, transb, m, n, k, &factor, nullptr, operands, lda, nullptr, operands, ldb,
                           &factor, nullptr, result, ldc, compute, CUBLAS_GEMM_DEFAULT);
  }
};

}  // namespace

TEST_CASE("cublas refuses what the library refuses") {
  CHECK_EQ(Call{.m = 3}.status(), CUBLAS_STATUS_INVALID_VALUE);                         // lda below m
  CHECK_EQ(Call{.transa = CUBLAS_OP_T, .k = 3}.status(), CUBLAS_STATUS_INVALID_VALUE);  // lda below k
  CHECK_EQ(Call{.transb = CUBLAS_OP_T, .n = 3}.status(), CUBLAS_STATUS_INVALID_VALUE);  // ldb below n
  CHECK_EQ(Call{.m = 0, .lda = 0}.status(), CUBLAS_STATUS_INVALID_VALUE);
  CHECK_EQ(Call{.m = 0, .ldc = 1}.status(), CUBLAS_STATUS_SUCCESS);
  CHECK_EQ(Call{.k = -1}.status(), CUBLAS_STATUS_INVALID_VALUE);
  CHECK_EQ(Call{.operands = CUDA_R_16BF, .result = CUDA_R_64F}.status(), CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK_EQ(Call{.compute = CUBLAS_COMPUTE_64F}.status(), CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK_EQ(cublasSetStream(nullptr, nullptr), CUBLAS_STATUS_NOT_INITIALIZED);
}

TEST_CASE("gemm: a refused call is a DeviceError that names it") {
  cuda::activate({DeviceType::cuda, 0});
  const Matrices<const float> bad_rows = {{nullptr, 1}, 0};  // two columns, but rows one element apart
  const Matrices<float> out = {{nullptr, 2}, 0};
  const std::string why = ": CUBLAS_STATUS_INVALID_VALUE (an argument has a value that is not supported)";
  CHECK_THROWS_WITH_AS(gemm({1, 2, 2, 2}, 1.0f, bad_rows, bad_rows, 0.0f, out, FloatProduct::exact),
                       ("cublasGemmEx_64" + why).c_str(), DeviceError);
  CHECK_THROWS_WITH_AS(gemm({3, 2, 2, 2}, 1.0f, bad_rows, bad_rows, 0.0f, out, FloatProduct::exact),
                       ("cublasGemmStridedBatchedEx_64" + why).c_str(), DeviceError);
}

TEST_CASE("gemm: tf32 rounds to nearest, ties away from zero, and keeps infinities") {
  const Device device = {DeviceType::cuda, 0};
  cuda::activate(device);
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {1 + 0x1p-11f, 1 + 0x1p-12f, -1 - 0x1p-11f, 1 + 0x1p-10f + 0x1p-12f, infinity};
  const std::vector<float> rounded = {1 + 0x1p-10f, 1, -1 - 0x1p-10f, 1 + 0x1p-10f, infinity};
  const auto n = static_cast<Index>(values.size());
  const Tensor a = tensor<float>(values, {n, 1}).to(device), one = full({1, 1}, 1, kFloat32, device);
  Tensor out = empty({n, 1}, kFloat32, device);
  gemm({1, n, 1, 1}, 1.0f, {{a.data<float>(), 1}, 0}, {{one.data<float>(), 1}, 0}, 0.0f, {{out.data<float>(), 1}, 0},
       FloatProduct::tf32);
  CHECK(same_bits(out, tensor<float>(rounded, {n, 1})));
}

}  // namespace subquad::test
