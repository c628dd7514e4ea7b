// Discrete Fourier transforms along one axis.
//
//   fft    X[k] = sum_j x[j] e^(-2 pi i j k / n)       k = 0 ... n-1   complex [.., n, ..] -> complex
//   ifft   x[j] = 1/n sum_k X[k] e^(+2 pi i j k / n)   j = 0 ... n-1   complex [.., n, ..] -> complex
//   rfft   X[k] as fft's, of a real x                  k = 0 ... n/2   real [.., n, ..] -> complex [.., n/2+1, ..]
//   irfft  x[j] as ifft's, with X[n-k] = conj X[k]     j = 0 ... n-1   complex [.., n/2+1, ..] -> real [.., n, ..]
//
//   any shape of rank >= 1, transformed along `axis` (negative counts from the end); float32 with complex64, float64
//   with complex128; contiguous; any extent may be 0 (rfft of n = 0 is the empty sum, 0)
//
// irfft takes the imaginary parts of X[0] and, for even n, of X[n/2] for 0, whatever they are.
//
// The gradient of a complex number z is dz = d/d Re z + i d/d Im z. So what follows is the transpose of the maps above:
//
//   fft_grad     dx[j] = sum_k dX[k] e^(+2 pi i j k / n)
//   ifft_grad    dX[k] = 1/n sum_j dx[j] e^(-2 pi i j k / n)
//   rfft_grad    dx[j] = Re sum_{k <= n/2} dX[k] e^(+2 pi i j k / n)
//   irfft_grad   dX[k] = c_k / n sum_j dx[j] e^(-2 pi i j k / n)       c_k = 1 for k = 0 and 2 k = n, else 2
//
// Any n: products of 2, 3, 5 by radices 2, 3, 4, 5, 8 in about 5 n log2 n flops; other n as a convolution of a smooth
// length >= 2 n - 1 (Bluestein), about 5 times that. A real signal of even length goes as a complex one of half of it;
// one of odd length costs as much as a complex one. On the CPU fast along two kinds of axes, and with the same bits
// along any:
//
//   [.., n, many]   where the extents behind the axis multiply to a vector's lanes (16 in float32 with AVX-512) or
//                   more, as in [B, N, D] along N, lanes are signals; each number is read and written once (complex
//                   results of 4 MiB and more, where they fill whole lines, past the caches), and one panel of n numbers per lane is held beside them
//   [.., n]         along the last axis lanes are numbers of one signal, of which two are held, however many there are.
//                   Short ones, odd real ones, those of Bluestein, and many signals of lengths that would leave lanes
//                   empty are transposed in registers and go as signals in lanes: then a lone one is not fast.
//                   Beside PyTorch (MKL) on 2^20 float32 numbers, one thread, AVX-512: 0.9 to 1.9 times as fast for
//                   n = 1000, 1021, 1024, 4096, 65536; slower at n = 256, half as fast for rfft.
//
// Between the two, lanes are gathered one by one. On CUDA a block takes one signal or some neighbouring ones, whose
// whole transform stays in its shared memory: each number is read and written once. Signals that do not fit into 96 KiB
// there (float32: above about 10 500 numbers, above 2560 by Bluestein's way; twice that where an even real one goes as
// half of it; float64: half of all that) are transformed by cuFFT (kernels/cufft), once per outer index unless the axis
// is the last one.
//
// No signal knows what stands in another: the result of one does not depend on any other, nor on how many there are
// (by cuFFT: as far as cuFFT promises that).
// Deterministic. Accuracy: errors grow like log n.
// Sources: Cooley and Tukey 1965; Stockham 1966 (the order of a sweep); Bluestein 1970.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor fft(const Tensor& x, int axis);
Tensor ifft(const Tensor& x, int axis);
Tensor rfft(const Tensor& x, int axis);
Tensor irfft(const Tensor& x, Index n, int axis);  // n / 2 + 1 is x's extent along the axis

Tensor fft_grad(const Tensor& dout, int axis);
Tensor ifft_grad(const Tensor& dout, int axis);
Tensor rfft_grad(const Tensor& dout, Index n, int axis);  // n: the extent of rfft's argument
Tensor irfft_grad(const Tensor& dout, int axis);

// Complex [...] as real [..., 2], (re, im), and back: views of the same bytes (of pairs that begin at an odd place of
// their memory a copy).
Tensor complex_to_pairs(const Tensor& x);
Tensor pairs_to_complex(const Tensor& x);

// The nominal work of `signals` real transforms of length n, whatever way they go: 5/2 n log2 n each. Complex ones have
// twice as much.
Flops real_transforms(Index signals, Index n);

}  // namespace subquad::kernels
