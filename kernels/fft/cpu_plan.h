// How a transform of a given length is done on the CPU: the cut into short transforms, and every root of unity that
// they multiply by. Plans are cached.
#pragma once

#include <memory>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::kernels::cpu {

// One sweep over a line of radix * rest * stride complex numbers (Stockham's order, which needs no bit reversal):
//   out[q + stride (radix p + k)]
//     = e^(-2 pi i p k / (radix rest)) sum_j e^(-2 pi i j k / radix) in[q + stride (p + j rest)]
// for p < rest, q < stride, k < radix. After all stages the line is transformed and in order.
struct FftStage {
  int radix;  // 2, 3, 4, 5 or 8
  Index rest;
  Index stride;
  std::size_t turns;  // where its factors start in FftLine::turns: (radix - 1) complex numbers for each p
};

template <class T>
struct FftLine {
  Index length = 1;
  std::vector<FftStage> stages;
  std::vector<T> turns;  // (re, im) pairs
};

// n = outer * inner, both near the square root, is done in two passes over a panel of n rows. With j = c + inner a:
//
//   columns   y[k1, c] = e^(-2 pi i c k1 / n) sum_a e^(-2 pi i a k1 / outer) x[c + inner a]
//   runs      X[k1 + outer k2] = sum_c e^(-2 pi i c k2 / inner) y[k1, c]
//
// A length with a prime factor above 5 is turned into a convolution of `padded->length` (Bluestein): with
// w[j] = e^(-pi i j^2 / n),   X[k] = w[k] sum_j (x[j] w[j]) conj(w[k - j]).
template <class T>
struct FftPlan {
  Index length = 1;
  Index outer = 1, inner = 1;
  FftLine<T> column, run;             // of lengths outer, inner
  std::vector<T> turns_re, turns_im;  // e^(-2 pi i c k1 / n) at [k1][c], and a vector's lanes beyond the end
  std::vector<T> half_turns;          // e^(-pi i k / n), k = 0 ... n / 2: for real transforms of length 2 n
  std::vector<T> run_half_turns;      // e^(-pi i k2 / inner), k2 < inner: with half_turns[k1], those of run k1

  std::shared_ptr<const FftPlan> padded;
  std::vector<T> chirp;   // w[j]
  std::vector<T> filter;  // transform of conj(w), over padded->length, in the order [k1][k2] of the padded plan

  // A panel has outer * pitch rows: one row more per run, so that rows of a column do not share a set of the cache.
  Index pitch() const { return outer > 1 && inner > 1 ? inner + 1 : inner; }
  Index rows() const { return outer * pitch(); }
};

// n >= 1
template <class T>
std::shared_ptr<const FftPlan<T>> fft_plan(Index n);

// Does n have no prime factor above 5?
bool is_smooth(Index n);

// The smallest 2^a, 3 * 2^a or 5 * 2^a >= n with a >= 1: what convolutions of n numbers are padded to. Other smooth
// lengths lie closer, but so few keep the plans of samples of many lengths in the cache.
Index padded_length(Index n);

}  // namespace subquad::kernels::cpu
