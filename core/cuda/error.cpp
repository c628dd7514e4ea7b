#include "subquad/core/cuda/error.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>

#include "subquad/core/cuda/range.h"

namespace subquad::cuda {
namespace {

// "softmax: " inside that op, "" outside of any.
std::string op_prefix() {
  const std::string op = current_op();
  return op.empty() ? op : op + ": ";
}

std::string words(cudaError_t status) {
  return cat(cudaGetErrorName(status), " (", cudaGetErrorString(status), ")");
}

// As it stands in the source: "void subquad::kernels::cuda::softmax_rows<float>(...)".
std::string kernel_name(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || mangled == nullptr) return "a kernel without a name";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status),
                                                         &std::free);
  return status == 0 ? name.get() : mangled;
}

std::string extents(dim3 size) {
  return cat('[', size.x, ", ", size.y, ", ", size.z, ']');
}

}  // namespace

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // the next call starts afresh where that is possible
  throw DeviceError(cat(op_prefix(), call, " failed: ", words(status)));
}

void check_launch(cudaError_t status, const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw DeviceError(cat(op_prefix(), "launch of ", kernel_name(kernel), " with grid ", extents(grid), ", block ",
                        extents(block), " and ", shared_bytes, " bytes of shared memory failed: ", words(status)));
}

}  // namespace subquad::cuda
