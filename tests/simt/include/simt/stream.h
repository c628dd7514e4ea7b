// Between the scheduler of kernels and the streams they are launched in.
#pragma once

#include <functional>

#include <simt/types.h>

namespace simt {

// Puts `work` behind what was put into the stream before; a stream that records keeps it for its graph, which may run
// it many times. `what` names the work in messages and lives as long as the process.
void enqueue(cudaStream_t stream, std::function<void()> work, const char* what);

}  // namespace simt
