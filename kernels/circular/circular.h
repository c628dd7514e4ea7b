// Circular convolution and correlation of real sequences along N, feature by feature. With n the sample's length, for
// j, t < n and indices modulo n:
//
//   circular_convolve    out[j] = sum_i a[i] b[j - i]
//   circular_correlate   out[t] = sum_i a[i] b[i + t]
//
//   a, b, out [B, N, D]; contiguous, one dtype (float32, float64); any extent may be 0
//
// `mask` gives the lengths (all N without one) and must be a prefix mask: Error otherwise. Rows from n on are not read
// and are 0 in the result; a sample's result does not depend, in any bit, on N, on other samples or other features.
//
// Each is the other's gradient:
//   convolve    da = correlate(b, dout)   db = correlate(a, dout)
//   correlate   da = correlate(dout, b)   db = convolve(dout, a)
//
// By the FFT (kernels/fft): three real transforms per pair of sequences, of length n when n is an even product of 2, 3,
// 5, else of the smallest 2^a, 3 2^a or 5 2^a >= 2 n - 1. Both gradients at once take five (on CUDA six), or three
// where forward has been asked to `keep` the spectra of a and b (spectra.h says of which samples, and their bytes), and
// each has the bits that it has alone. Deterministic: a sequence is worked on by one thread. On a CPU sequences are
// read and results written once (those of 4 MiB and more, where a vector's fill whole lines, past the caches); the spectra of a vector's lanes of sequences
// stand in panels beside them, two or three.
//
// On CUDA one launch reads a and b once and writes out once where the transform's numbers fit into 32 KiB (and, of all
// sequences, into a block's shared memory); longer samples take three launches between which spectra stand in memory
// (2 B D longest transforms). Lengths are read by the kernels, and each sample goes the way of its own length, so the
// promise above holds there, too; lengths outside of 0 ... N count as the nearest of these. Which way that is depends
// on the device, so bits are the same on devices with as much shared memory per block. N is at most 2^21 (float64:
// 2^19): Error otherwise.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"
#include "subquad/kernels/circular/spectra.h"

namespace subquad::kernels {

Tensor circular_convolve(const Tensor& a, const Tensor& b, const Mask& mask = {}, CyclicSpectra* keep = nullptr);
Tensor circular_correlate(const Tensor& a, const Tensor& b, const Mask& mask = {}, CyclicSpectra* keep = nullptr);

struct CircularGrads {
  Tensor da, db;
};
CircularGrads circular_convolve_grad(const Tensor& dout, const Tensor& a, const Tensor& b, const Mask& mask = {},
                                     const CyclicSpectra& spectra = {});
CircularGrads circular_correlate_grad(const Tensor& dout, const Tensor& a, const Tensor& b, const Mask& mask = {},
                                      const CyclicSpectra& spectra = {});

// Nominal work on sequences [B, N, D]: three transforms of length N forward and, from kept spectra, backward; else
// five.
Flops circular_work(const Shape& shape);
Flops circular_grad_work(const Shape& shape, bool from_spectra = false);

}  // namespace subquad::kernels
