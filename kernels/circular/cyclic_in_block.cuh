// Samples that one block can hold: cyclic_job.cuh.
#pragma once

#include <algorithm>

#include "subquad/kernels/circular/cyclic_job.cuh"

namespace subquad::kernels::cuda {

// The shared memory of cyclic_in_block for transforms of `length` and 2^bits features.
template <class T, class Job>
std::size_t cyclic_shared(int length, int bits) {
  const std::size_t lanes = std::size_t{1} << bits;
  return shared_size<T>(Job::kMeans * lanes) + shared_size<T>(Job::kMeans * kCyclicParts * lanes) +
         shared_size<Complex<T>>(Roots<T>::count(length)) +
         shared_size<Complex<T>>(panel_rows(length / 2) * Job::kIn * lanes);
}

// One block per sample and 2^bits neighbouring features: means, transforms, products and the transforms back. Every
// input is read once (twice with means: again from cache), every result written once.
template <class T, class Job>
__global__ void __launch_bounds__(kCyclicThreads) cyclic_in_block(Job job, CyclicShape shape, int bits) {
  const Index chunks = (shape.width + (1 << bits) - 1) >> bits;
  const Index b = blockIdx.x / chunks, first = (blockIdx.x % chunks) << bits;
  const int n = static_cast<int>(shape.lengths[b]), length = n == 0 ? 2 : cyclic_length(n), half = length / 2;
  if (length > shape.longest_in_block) return;

  SharedMemory shared;
  const BlockMeans<T> means = {shared.take<T>(Job::kMeans << bits), bits};
  T* const parts = shared.take<T>(Job::kMeans * kCyclicParts << bits);
  const Roots<T> roots(length, shared.take<Complex<T>>(Roots<T>::count(length)));
  const Panel<T> panel = {shared.take<Complex<T>>(panel_rows(half) * Job::kIn << bits), Job::kIn << bits};
  const Lanes<1> one = {bits};
  one.each(static_cast<int>(shape.positions) - n, [&](int j, int lane) {
    if (first + lane < shape.width) job.zero(shape.at(b, n + j, first + lane));
  });
  const auto finish_samples = [&] {
    one.each(1, [&](int, int lane) {
      if (first + lane < shape.width) finish_sample(job, b * shape.width + first + lane, n, means(lane));
    });
  };
  if (n == 0) return finish_samples();

  block_means<0, Job::kFirst>(job, shape, b, first, n, means, parts);
  block_means<Job::kFirst, Job::kMeans>(job, shape, b, first, n, means, parts);
  finish_samples();
  Lanes<Job::kIn>{bits}.each(half, [&](int i, int lane) {
    const int s = lane >> bits, channel = lane & ((1 << bits) - 1);
    const auto value = [&](int j) { return job.value(s, shape.at(b, j, first + channel), means(channel)); };
    const bool real = first + channel < shape.width;
    const Continued how = job.continued(s);
    panel.at(i, lane) = {real ? cyclic_number<T>(2 * i, n, length, how, value) : T(0),
                         real ? cyclic_number<T>(2 * i + 1, n, length, how, value) : T(0)};
  });
  __syncthreads();
  const Radices radices = radices_of(half);
  panel_forward(panel, Lanes<Job::kIn>{bits}, roots, half, radices);
  one.each(half / 2 + 1, [&](int k, int lane) {
    const Complex<T> w = roots[k];
    const int low = panel_place(k, half, radices), high = k == 0 ? low : panel_place(half - k, half, radices);
    SpectrumPair<T> x[Job::kIn], y[Job::kOut];
#pragma unroll
    for (int s = 0; s < Job::kIn; ++s)
      x[s] = unpacked(panel.at(low, (s << bits) + lane), panel.at(high, (s << bits) + lane), w);
    job.product(x, y);
#pragma unroll
    for (int s = 0; s < Job::kOut; ++s) {
      const SpectrumPair<T> z = packed(y[s], w);
      panel.at(low, (s << bits) + lane) = z.low;
      if (high != low) panel.at(high, (s << bits) + lane) = z.high;
    }
  });
  __syncthreads();
  panel_backward(panel, Lanes<Job::kOut>{bits}, roots, half, radices);
  // Too large by two factors of 2 from `unpacked`, one from `packed`, and M / 2.
  const T scale = job.scale(n) / static_cast<T>(4 * length);
  Lanes<Job::kOut>{bits}.each(half, [&](int i, int lane) {
    const int s = lane >> bits, channel = lane & ((1 << bits) - 1);
    if (first + channel >= shape.width) return;
    const Complex<T> v = panel.at(i, lane);
    const Index at = shape.at(b, 2 * i, first + channel);
    if (2 * i < n) job.finish(s, at, first + channel, v.re * scale, means(channel));
    if (2 * i + 1 < n) job.finish(s, at + shape.width, first + channel, v.im * scale, means(channel));
  });
}

// The longest transform whose numbers fit into 32 KiB, and, of all sequences, into the device's shared memory.
template <class T, class Job>
int longest_in_block() {
  const std::size_t memory = properties(current_device()).shared_bytes_per_block;
  int longest = kLongestInBlock<T>;
  while (cyclic_shared<T, Job>(longest, 0) > memory) longest -= kLongestInBlock<T> / 8;
  return longest;
}

template <class T, class Job>
void launch_in_block(const char* op, const Job& job, const CyclicShape& shape, Index batch, int longest) {
  // More features per block, up to 32 bytes of them, while two blocks fit into a multiprocessor and while the blocks
  // still fill a large device (three for two of its multiprocessors). Results do not depend on it.
  constexpr Index kBlocks = 3 * 132 / 2;
  const std::size_t half_memory = properties(current_device()).shared_bytes_per_block / 2 - (std::size_t{1} << 10);
  const auto blocks = [&](int bits) { return batch * ((shape.width + (1 << bits) - 1) >> bits); };
  int bits = 0;
  while (Index{1} << bits < shape.width && (sizeof(T) << bits) < 32 && blocks(bits + 1) >= kBlocks &&
         cyclic_shared<T, Job>(longest, bits + 1) <= half_memory)
    ++bits;
  const int work = (longest / 16 * Job::kIn) << bits;
  const auto threads = static_cast<unsigned>(std::clamp((work + 31) / 32 * 32, 64, kCyclicThreads));
  launch(cyclic_in_block<T, Job>, dim3(blocks_for(op, blocks(bits), 1)), dim3(threads),
         cyclic_shared<T, Job>(longest, bits), current_stream(), job, shape, bits);
}

}  // namespace subquad::kernels::cuda
