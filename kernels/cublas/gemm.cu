#include "subquad/kernels/cublas/gemm.h"

#include <cublas_v2.h>

#include <array>
#include <mutex>

#include "subquad/core/allocator.h"
#include "subquad/core/cuda/range.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/error.h"

namespace subquad::kernels::cuda {

using subquad::cuda::current_device;
using subquad::cuda::current_op;
using subquad::cuda::current_stream;
using subquad::cuda::properties;

namespace {

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const std::string op = current_op();
  throw DeviceError(cat(op, op.empty() ? "" : ": ", call, ": ", cublasGetStatusName(status), " (",
                        cublasGetStatusString(status), ")"));
}

// cuBLAS for one device. Nothing is released when the process ends: by then the CUDA runtime may be gone.
class Library {
 public:
  // The handle, working in the current stream.
  cublasHandle_t bound(int device) {
    const cudaStream_t stream = current_stream();
    if (handle_ == nullptr) open(device);
    if (stream_ == stream) return handle_;
    check(cublasSetStream(handle_, stream), "cublasSetStream");
    check(cublasSetWorkspace(handle_, workspace_, bytes_), "cublasSetWorkspace");  // a new stream resets it
    stream_ = stream;
    return handle_;
  }

 private:
  void open(int device) {
    constexpr std::size_t kBytesPerMultiprocessor = std::size_t{256} << 10;  // 33 MiB on H100; cuBLAS advises 32 there
    bytes_ = kBytesPerMultiprocessor * static_cast<std::size_t>(properties(device).multiprocessors);
    if (workspace_ == nullptr) workspace_ = allocate(bytes_, {DeviceType::cuda, device}, "cublas");
    cublasHandle_t handle = nullptr;
    check(cublasCreate(&handle), "cublasCreate");
    check(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");  // no TF32 unless a call asks for it
    handle_ = handle;
  }

  cublasHandle_t handle_ = nullptr;
  cudaStream_t stream_ = nullptr;
  void* workspace_ = nullptr;
  std::size_t bytes_ = 0;
};

constexpr std::size_t kMostDevices = 64;
std::mutex mutex;  // held from binding a handle to the end of the call with it
std::array<Library, kMostDevices> libraries;

struct Types {
  cudaDataType operands;
  cudaDataType result;
  cublasComputeType_t compute;
};

cublasOperation_t operation(bool transposed) {
  return transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
}

// cuBLAS counts columns first, so that what we call a row-major c is its c^T = b^T a^T: the operands trade places, and
// each is handed over as it lies. `Scale` is the type of alpha and beta, the one that cuBLAS computes in.
template <class Scale, class In, class Out>
void run(const Products& p, Scale alpha, const Matrices<In>& a, const Matrices<In>& b, Scale beta,
         const Matrices<Out>& c, Types types) {
  const std::lock_guard lock(mutex);
  const int device = current_device();
  const cublasHandle_t handle = libraries.at(static_cast<std::size_t>(device)).bound(device);
  const cublasOperation_t op_a = operation(a.first.transposed), op_b = operation(b.first.transposed);
  if (p.count == 1)  // may cut a long k, as the batched call does not
    check(cublasGemmEx_64(handle, op_b, op_a, p.n, p.m, p.k, &alpha, b.first.data, types.operands, b.first.ld,
                          a.first.data, types.operands, a.first.ld, &beta, c.first.data, types.result, c.first.ld,
                          types.compute, CUBLAS_GEMM_DEFAULT),
          "cublasGemmEx_64");
  else
    check(cublasGemmStridedBatchedEx_64(handle, op_b, op_a, p.n, p.m, p.k, &alpha, b.first.data, types.operands,
                                        b.first.ld, b.stride, a.first.data, types.operands, a.first.ld, a.stride, &beta,
                                        c.first.data, types.result, c.first.ld, c.stride, p.count, types.compute,
                                        CUBLAS_GEMM_DEFAULT),
          "cublasGemmStridedBatchedEx_64");
}

}  // namespace

void gemm(const Products& products, double alpha, const Matrices<const double>& a, const Matrices<const double>& b,
          double beta, const Matrices<double>& c) {
  run(products, alpha, a, b, beta, c, {CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F});
}

void gemm(const Products& products, float alpha, const Matrices<const float>& a, const Matrices<const float>& b,
          float beta, const Matrices<float>& c, FloatProduct how) {
  const cublasComputeType_t compute = how == FloatProduct::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  run(products, alpha, a, b, beta, c, {CUDA_R_32F, CUDA_R_32F, compute});
}

void gemm(const Products& products, float alpha, const Matrices<const BFloat16>& a, const Matrices<const BFloat16>& b,
          float beta, const Matrices<float>& c) {
  run(products, alpha, a, b, beta, c, {CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F});
}

}  // namespace subquad::kernels::cuda
