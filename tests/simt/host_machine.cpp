// Devices, versions, errors and profiler ranges.
#include <nvtx3/nvToolsExt.h>
#include <simt/machine.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include "subquad/tests/simt/host_queue.h"

namespace simt {
namespace {

constexpr int kRuntimeVersion = 13000;

thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;
std::map<std::string, std::size_t> ranges;

std::size_t from_environment(const char* name, std::size_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

Machine machine_of_environment() {
  Machine m;
  m.devices = static_cast<int>(from_environment("SUBQUAD_SIMT_DEVICES", 1));
  m.driver = static_cast<int>(from_environment("SUBQUAD_SIMT_DRIVER", kRuntimeVersion));
  m.memory_bytes = from_environment("SUBQUAD_SIMT_MEMORY", m.memory_bytes);
  m.shared_bytes = from_environment("SUBQUAD_SIMT_SHARED", m.shared_bytes);
  m.protect = from_environment("SUBQUAD_SIMT_PROTECT", 1) != 0;
  return m;
}

}  // namespace

Machine& machine() {
  static Machine m = machine_of_environment();
  return m;
}

cudaError_t failed(cudaError_t error) {
  last_error = error;
  return error;
}

std::size_t ranges_opened(const std::string& name) {
  return ranges[name];
}

}  // namespace simt

using simt::failed;

int nvtxRangePushA(const char* name) {
  ++simt::ranges[name];
  return 0;
}

int nvtxRangePop() {
  return 0;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorIllegalState: return "cudaErrorIllegalState";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    default: return "unrecognized error code";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorIllegalState: return "the operation cannot be performed in the present state";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorNotSupported: return "operation not supported";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    default: return "unrecognized error code";
  }
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = simt::last_error;
  simt::last_error = cudaSuccess;
  return error;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = simt::machine().driver;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = simt::kRuntimeVersion;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (simt::machine().driver < simt::kRuntimeVersion) return failed(cudaErrorInsufficientDriver);
  if (simt::machine().devices == 0) return failed(cudaErrorNoDevice);
  *count = simt::machine().devices;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= simt::machine().devices) return failed(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "SIMT interpreter");
  properties->totalGlobalMem = simt::machine().memory_bytes;
  properties->sharedMemPerBlockOptin = simt::machine().shared_bytes;
  properties->major = 9;
  properties->multiProcessorCount = 4;  // grids that fill the device stay small
  properties->l2CacheSize = 1 << 20;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= simt::machine().devices) return failed(cudaErrorInvalidDevice);
  simt::current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = simt::current_device;
  return cudaSuccess;
}
