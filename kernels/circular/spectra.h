// Spectra that a cyclic product (circular.h, hidden_cross.h) leaves for its gradients, which then make three real
// transforms in place of five.
#pragma once

#include <vector>

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

// Of both sequences, on the CPU: of every sample whose length is an even product of 2, 3, 5 at most 5 numbers more than
// the sample has itself; nothing of others. Undefined where nothing is kept of any, and on CUDA. Only for the gradients
// of the same product, with the same mask, on the same SIMD target: they have the same bits with them and without.
struct CyclicSpectra {
  Tensor a, b;
};

namespace cpu {

// Is the spectrum of a sequence of n numbers that of its own length? Else the sequence is padded.
bool has_own_spectrum(Index n);

// How many numbers are kept of a sequence of n numbers: the n / 2 + 2 complex ones of its spectrum's pairs, of which at
// most three stand there twice, and one more that may be its mean.
Index kept_numbers(Index n);

// Where the kept numbers of each sample of sequences like x [B, N, D] begin, and last where they end.
std::vector<Index> kept_starts(const Tensor& x, const Mask& mask);

// Room for what is kept of sequences like a [B, N, D], on whatever device.
CyclicSpectra room_for_spectra(const Tensor& a, const Mask& mask, const char* op);

// Error unless they are undefined, or as large as those of sequences like a with that mask.
void check_spectra(const char* op, const CyclicSpectra& spectra, const Tensor& a, const Mask& mask);

}  // namespace cpu
}  // namespace subquad::kernels
