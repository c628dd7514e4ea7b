#include "subquad/core/cuda/runtime.h"

#include <cuda_runtime.h>

#include <atomic>
#include <map>
#include <mutex>

#include "subquad/core/cuda/error.h"
#include "subquad/core/cuda/report.h"

namespace subquad::cuda {
namespace {

std::atomic<std::uint64_t> wait_count{0};

thread_local int current = -1;  // what cudaGetDevice would answer; -1: nothing was activated in this thread yet

int driver_version() {
  int version = 0;
  check(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
  return version;
}

// 13000 is CUDA 13.0
std::string spelled(int version) {
  return cat(version / 1000, '.', version % 1000 / 10);
}

struct KnownDevice {
  DeviceProperties properties;
  cudaStream_t stream = nullptr;
};

KnownDevice get_to_know(int ordinal) {
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, ordinal), "cudaGetDeviceProperties");
  KnownDevice device;
  device.properties = {.name = found.name,
                       .major = found.major,
                       .minor = found.minor,
                       .multiprocessors = found.multiProcessorCount,
                       .memory_bytes = found.totalGlobalMem,
                       .shared_bytes_per_block = found.sharedMemPerBlockOptin,
                       .l2_bytes = static_cast<std::size_t>(found.l2CacheSize)};
  check(cudaSetDevice(ordinal), "cudaSetDevice");
  current = ordinal;
  check(cudaStreamCreateWithFlags(&device.stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  report();  // made here, since nothing can be made while a graph is recorded
  return device;
}

// Streams live as long as the process: tensors with static storage duration may still use them on its way out.
const KnownDevice& known(int ordinal) {
  static std::mutex mutex;
  static std::map<int, KnownDevice>& devices = *new std::map<int, KnownDevice>;
  const std::lock_guard lock(mutex);
  if (const auto it = devices.find(ordinal); it != devices.end()) return it->second;
  const int count = device_count();
  if (ordinal < 0 || ordinal >= count)
    throw DeviceError(cat("cuda:", ordinal, " does not exist: this machine has ", count,
                          count == 1 ? " CUDA device" : " CUDA devices"));
  return devices.emplace(ordinal, get_to_know(ordinal)).first->second;
}

}  // namespace

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count;
  cudaGetLastError();  // has been looked at
  if (status == cudaErrorNoDevice) return 0;
  if (status == cudaErrorInsufficientDriver) {
    if (!has_driver()) return 0;
    int runtime = 0;
    check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    throw DeviceError(cat("cuda: the driver of this machine is for CUDA ", spelled(driver_version()),
                          ", older than CUDA ", spelled(runtime), " of this build; update the driver or use cpu"));
  }
  check(status, "cudaGetDeviceCount");
  return 0;
}

bool has_driver() {
  return driver_version() > 0;
}

const DeviceProperties& properties(int ordinal) {
  return known(ordinal).properties;
}

void activate(Device device) {
  if (device.ordinal == current) return;
  known(device.ordinal);
  check(cudaSetDevice(device.ordinal), "cudaSetDevice");
  current = device.ordinal;
}

int current_device() {
  if (current < 0) activate({DeviceType::cuda, 0});
  return current;
}

CUstream_st* current_stream() {
  return known(current_device()).stream;
}

bool recording() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(current_stream(), &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

void refuse_while_recording(const char* who) {
  if (recording())
    throw Error(cat(who, ": a graph is being recorded on cuda:", current_device(),
                    ", so nothing runs that could be waited for; read results after Graph::replay"));
}

void note_wait() {
  wait_count.fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t waits() {
  return wait_count.load(std::memory_order_relaxed);
}

void wait(const char* who) {
  refuse_while_recording(who);
  note_wait();
  check(cudaStreamSynchronize(current_stream()), "cudaStreamSynchronize");
  throw_complaint();
}

void synchronize() {
  wait("synchronize");
}

}  // namespace subquad::cuda
