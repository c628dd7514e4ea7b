// The stand-in for CUDA's runtime: what is late on a GPU is late here, what crashes there crashes here.
#include <simt/machine.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <vector>

#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

// A stream, device memory and page-locked memory for four floats.
struct Bench {
  Bench() {
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaMalloc(reinterpret_cast<void**>(&device), kBytes);
    cudaHostAlloc(reinterpret_cast<void**>(&pinned), kBytes, cudaHostAllocDefault);
  }
  ~Bench() {
    cudaStreamDestroy(stream);
    cudaFree(device);
    cudaFreeHost(pinned);
  }
  cudaError_t up(const float* from) { return cudaMemcpyAsync(device, from, kBytes, cudaMemcpyHostToDevice, stream); }
  cudaError_t down(float* to) { return cudaMemcpyAsync(to, device, kBytes, cudaMemcpyDeviceToHost, stream); }

  static constexpr std::size_t kBytes = 4 * sizeof(float);
  cudaStream_t stream = nullptr;
  float* device = nullptr;
  float* pinned = nullptr;
};

bool crashes(void (*f)(float*), float* address) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    f(address);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

}  // namespace

TEST_CASE("simt: a copy into page-locked memory has not arrived before somebody waits") {
  Bench bench;
  const std::vector<float> one(4, 1.0f);
  CHECK(bench.up(one.data()) == cudaSuccess);
  CHECK(bench.down(bench.pinned) == cudaSuccess);
  CHECK(std::isnan(bench.pinned[0]));
  const std::size_t before = synchronisations();
  CHECK(cudaStreamSynchronize(bench.stream) == cudaSuccess);
  CHECK(bench.pinned[0] == 1);
  CHECK(synchronisations() == before + 1);
}

TEST_CASE("simt: memory that is not page-locked is read at once and written at once") {
  Bench bench;
  std::vector<float> one(4, 1.0f), back(4);
  CHECK(bench.up(one.data()) == cudaSuccess);
  one[0] = 2;
  CHECK(bench.down(back.data()) == cudaSuccess);
  CHECK(back[0] == 1);
}

TEST_CASE("simt: page-locked memory is read when the copy runs") {
  Bench bench;
  std::vector<float> back(4);
  bench.pinned[0] = 1;
  CHECK(bench.up(bench.pinned) == cudaSuccess);
  bench.pinned[0] = 2;  // the fault that a missing wait makes
  CHECK(bench.down(back.data()) == cudaSuccess);
  CHECK(back[0] == 2);
}

TEST_CASE("simt: streams are only ordered by events") {
  Bench one;
  cudaStream_t other = nullptr;
  cudaEvent_t event = nullptr;
  cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  CHECK(cudaEventQuery(event) == cudaSuccess);  // nothing was recorded
  const auto read_in_other = [&] {
    cudaMemcpyAsync(one.pinned, one.device, one.kBytes, cudaMemcpyDeviceToHost, other);
    cudaStreamSynchronize(other);
    return one.pinned[0];
  };
  CHECK(cudaMemsetAsync(one.device, 0, one.kBytes, one.stream) == cudaSuccess);
  CHECK(std::isnan(read_in_other()));
  cudaEventRecord(event, one.stream);
  cudaStreamWaitEvent(other, event, 0);
  CHECK(read_in_other() == 0);
  CHECK(cudaEventQuery(event) == cudaSuccess);
  cudaMemsetAsync(one.device, 0, one.kBytes, one.stream);
  cudaEventRecord(event, one.stream);
  CHECK(cudaEventQuery(event) == cudaErrorNotReady);
  CHECK(cudaEventQuery(event) == cudaSuccess);  // time passes with each question
  CHECK(cudaGetLastError() == cudaErrorNotReady);
  CHECK(cudaGetLastError() == cudaSuccess);
  cudaEventDestroy(event);
  cudaStreamDestroy(other);
}

TEST_CASE("simt: a recording runs nothing, a graph runs it again and again") {
  Bench bench;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  std::vector<float> back(4);
  CHECK(cudaStreamBeginCapture(bench.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(bench.up(bench.pinned) == cudaSuccess);
  CHECK(cudaStreamEndCapture(bench.stream, &graph) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&exec, graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  bench.pinned[0] = 1;
  CHECK(bench.down(back.data()) == cudaSuccess);
  CHECK(std::isnan(back[0]));
  for (const float value : {2.0f, 3.0f}) {
    bench.pinned[0] = value;
    CHECK(cudaGraphLaunch(exec, bench.stream) == cudaSuccess);
    CHECK(bench.down(back.data()) == cudaSuccess);
    CHECK(back[0] == value);
  }
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
}

TEST_CASE("simt: what a recording forbids ends it") {
  Bench bench;
  std::vector<float> paged(4);
  const auto lost = [&](auto forbidden) {
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamBeginCapture(bench.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(forbidden() == cudaErrorStreamCaptureUnsupported);
    CHECK(cudaStreamEndCapture(bench.stream, &graph) == cudaErrorStreamCaptureInvalidated);
    return graph == nullptr;
  };
  void* memory = nullptr;
  CHECK(lost([&] { return cudaStreamSynchronize(bench.stream); }));
  CHECK(lost([] { return cudaDeviceSynchronize(); }));
  CHECK(lost([&] { return cudaMalloc(&memory, 1); }));
  CHECK(lost([&] { return cudaFree(bench.device); }));
  CHECK(lost([&] { return cudaHostAlloc(&memory, 1, 0); }));
  CHECK(lost([&] { return bench.up(paged.data()); }));
  CHECK(lost([&] { return bench.down(paged.data()); }));
}

TEST_CASE("simt: in relaxed mode memory can be taken during a recording") {
  Bench bench;
  void* memory = nullptr;
  cudaGraph_t graph = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaStreamBeginCapture(bench.stream, cudaStreamCaptureModeThreadLocal);
  CHECK(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess);
  CHECK(cudaMalloc(&memory, 1) == cudaSuccess);
  CHECK(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess);
  CHECK(mode == cudaStreamCaptureModeRelaxed);
  CHECK(cudaStreamEndCapture(bench.stream, &graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);
}

TEST_CASE("simt: device memory is out of the host's reach") {
  Bench bench;
  CHECK(crashes([](float* address) { *static_cast<volatile float*>(address); }, bench.device));
  CHECK(crashes([](float* address) { *static_cast<volatile float*>(address) = 1; }, bench.device));
  CHECK_FALSE(crashes([](float* address) { *static_cast<volatile float*>(address) = 1; }, bench.pinned));
}

TEST_CASE("simt: copies stay inside of blocks and go where they say") {
  Bench bench;
  std::vector<float> paged(8);
  CHECK(cudaMemcpyAsync(bench.device, paged.data(), bench.kBytes + 1, cudaMemcpyHostToDevice, bench.stream) ==
        cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(bench.device + 4, paged.data(), 1, cudaMemcpyHostToDevice, bench.stream) ==
        cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(paged.data(), bench.device, 1, cudaMemcpyHostToDevice, bench.stream) == cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(bench.device, 0, bench.kBytes + 1, bench.stream) == cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(paged.data(), 0, 1, bench.stream) == cudaErrorInvalidValue);
  CHECK(cudaFree(bench.device + 1) == cudaErrorInvalidValue);
}

TEST_CASE("simt: freed memory is handed out again, full of NaN") {
  void *first = nullptr, *second = nullptr;
  CHECK(cudaMalloc(&first, 100'000) == cudaSuccess);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % 512 == 0);
  CHECK(cudaMemsetAsync(first, 0, 100'000, nullptr) == cudaSuccess);
  CHECK(cudaFree(first) == cudaSuccess);
  CHECK(cudaMalloc(&second, 100'000) == cudaSuccess);
  CHECK(first == second);
  std::vector<float> back(25'000);
  CHECK(cudaMemcpyAsync(back.data(), second, 100'000, cudaMemcpyDeviceToHost, nullptr) == cudaSuccess);
  CHECK(std::isnan(back.back()));
  CHECK(cudaFree(second) == cudaSuccess);
}

}  // namespace simt
