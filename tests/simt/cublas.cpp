// cuBLAS on the CPU: what include/cublas_v2.h declares. Products wait in the handle's stream like kernels do, so that
// captures record them.
#include <cublas_v2.h>
#include <simt/stream.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "subquad/core/dtype.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
  bool tf32 = false;  // the math mode lets float32 products round their operands
};

namespace {

using Index = std::int64_t;

// One of the matrices of a batch: element (i, j) of item b is at data + b * stride + j * ld + i, before any
// transposing.
struct Operand {
  const void* data;
  Index ld;
  Index stride;
  bool transposed;
};

struct Products {
  Index count, m, n, k;
  Operand a, b, c;
  bool tf32;
};

// To the nearest TensorFloat-32, ties away from zero; infinities and NaN stay.
float to_tf32(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu);
}

template <class Sum, class T>
Sum operand_value(T value, bool tf32) {
  if constexpr (std::is_same_v<T, float>)
    return tf32 ? to_tf32(value) : value;
  else
    return static_cast<Sum>(value);
}

// op(x) of one item as columns [width][height] without gaps.
template <class Sum, class T>
void unpack(const Operand& x, Index item, Index height, Index width, bool tf32, std::vector<Sum>& columns) {
  const T* const data = static_cast<const T*>(x.data) + item * x.stride;
  columns.resize(static_cast<std::size_t>(height * width));
  Sum* to = columns.data();
  for (Index j = 0; j < width; ++j) {
    for (Index i = 0; i < height; ++i)
      *to++ = operand_value<Sum>(data[x.transposed ? i * x.ld + j : j * x.ld + i], tf32);
  }
}

template <class In, class Out>
void multiply(const Products& p, Out alpha, Out beta) {
  std::vector<Out> a, b, sums(static_cast<std::size_t>(p.m));
  for (Index item = 0; item < p.count; ++item) {
    unpack<Out, In>(p.a, item, p.m, p.k, p.tf32, a);
    unpack<Out, In>(p.b, item, p.k, p.n, p.tf32, b);
    for (Index j = 0; j < p.n; ++j) {
      std::fill(sums.begin(), sums.end(), Out(0));
      for (Index l = 0; l < p.k; ++l) {
        const Out factor = b[static_cast<std::size_t>(j * p.k + l)];
        const Out* const column = a.data() + l * p.m;
        for (Index i = 0; i < p.m; ++i) sums[static_cast<std::size_t>(i)] += column[i] * factor;
      }
      Out* const c = static_cast<Out*>(const_cast<void*>(p.c.data)) + item * p.c.stride + j * p.c.ld;
      for (Index i = 0; i < p.m; ++i) {
        const Out product = alpha * sums[static_cast<std::size_t>(i)];
        c[i] = beta == 0 ? product : product + beta * c[i];
      }
    }
  }
}

template <class In, class Out>
cublasStatus_t start(cublasHandle_t handle, const Products& p, const void* alpha, const void* beta, const char* call) {
  const Out factor = *static_cast<const Out*>(alpha), scale = *static_cast<const Out*>(beta);
  simt::enqueue(
      handle->stream, [=] { multiply<In, Out>(p, factor, scale); }, call);
  return CUBLAS_STATUS_SUCCESS;
}

struct Types {
  cudaDataType a, b, c;
  cublasComputeType_t compute;

  bool are(cudaDataType operand, cudaDataType result) const { return a == operand && b == operand && c == result; }
};

cublasStatus_t gemm(cublasHandle_t handle, Products p, const void* alpha, const void* beta, const Types& types,
                    const char* call) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  const auto fits = [](const Operand& x, Index height, Index width) {
    return x.ld >= std::max<Index>(1, x.transposed ? width : height);
  };
  if (p.count < 0 || p.m < 0 || p.n < 0 || p.k < 0 || alpha == nullptr || beta == nullptr || !fits(p.a, p.m, p.k) ||
      !fits(p.b, p.k, p.n) || !fits(p.c, p.m, p.n))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (p.count == 0 || p.m == 0 || p.n == 0) return CUBLAS_STATUS_SUCCESS;
  const bool single = types.compute == CUBLAS_COMPUTE_32F || types.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  p.tf32 = types.compute == CUBLAS_COMPUTE_32F_FAST_TF32 || (types.compute == CUBLAS_COMPUTE_32F && handle->tf32);
  if (single && types.are(CUDA_R_32F, CUDA_R_32F)) return start<float, float>(handle, p, alpha, beta, call);
  if (types.compute == CUBLAS_COMPUTE_32F && types.are(CUDA_R_16BF, CUDA_R_32F))
    return start<subquad::BFloat16, float>(handle, p, alpha, beta, call);
  if (types.compute == CUBLAS_COMPUTE_64F && types.are(CUDA_R_64F, CUDA_R_64F))
    return start<double, double>(handle, p, alpha, beta, call);
  return CUBLAS_STATUS_NOT_SUPPORTED;
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;  // kept as long as the process lives, like the product does
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, std::size_t) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  constexpr std::uintptr_t kAlignment = 256;  // that the library asks for
  return reinterpret_cast<std::uintptr_t>(workspace) % kAlignment == 0 ? CUBLAS_STATUS_SUCCESS
                                                                       : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->tf32 = mode == CUBLAS_TF32_TENSOR_OP_MATH;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown status";
}

const char* cublasGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "the operation succeeded";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED: return "an allocation inside the library failed";
    case CUBLAS_STATUS_INVALID_VALUE: return "an argument has a value that is not supported";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "the program on the device failed";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "an operation inside the library failed";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "the combination of arguments is not supported";
  }
  return "unknown status";
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                               std::int64_t m, std::int64_t n, std::int64_t k, const void* alpha, const void* A,
                               cudaDataType Atype, std::int64_t lda, const void* B, cudaDataType Btype,
                               std::int64_t ldb, const void* beta, void* C, cudaDataType Ctype, std::int64_t ldc,
                               cublasComputeType_t computeType, cublasGemmAlgo_t) {
  const Products p = {.count = 1,
                      .m = m,
                      .n = n,
                      .k = k,
                      .a = {A, lda, 0, transa == CUBLAS_OP_T},
                      .b = {B, ldb, 0, transb == CUBLAS_OP_T},
                      .c = {C, ldc, 0, false},
                      .tf32 = false};
  return gemm(handle, p, alpha, beta, {Atype, Btype, Ctype, computeType}, "cublasGemmEx_64");
}

cublasStatus_t cublasGemmStridedBatchedEx_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                             std::int64_t m, std::int64_t n, std::int64_t k, const void* alpha,
                                             const void* A, cudaDataType Atype, std::int64_t lda, long long int strideA,
                                             const void* B, cudaDataType Btype, std::int64_t ldb, long long int strideB,
                                             const void* beta, void* C, cudaDataType Ctype, std::int64_t ldc,
                                             long long int strideC, std::int64_t batchCount,
                                             cublasComputeType_t computeType, cublasGemmAlgo_t) {
  const Products p = {.count = batchCount,
                      .m = m,
                      .n = n,
                      .k = k,
                      .a = {A, lda, strideA, transa == CUBLAS_OP_T},
                      .b = {B, ldb, strideB, transb == CUBLAS_OP_T},
                      .c = {C, ldc, strideC, false},
                      .tf32 = false};
  return gemm(handle, p, alpha, beta, {Atype, Btype, Ctype, computeType}, "cublasGemmStridedBatchedEx_64");
}
