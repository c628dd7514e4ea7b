// Fourier transforms of many lines at once, by one block, in place in shared memory.
//
// Lanes are independent lines; the numbers of a place stand side by side in all of them, so neighbouring threads work
// on neighbouring lanes. `forward` takes numbers in order and leaves number k of the spectrum at place(k): with
// h = r m, numbers k = d mod r form a transform of length m of their own, which starts at place d m. `backward` takes
// them from there and leaves numbers in order. What only multiplies spectra never sorts them.
//
// A thread does one small transform at a time, in registers, and writes where it has read: a barrier per radix.
#pragma once

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/fft/complex.cuh"

namespace subquad::kernels::cuda {

// A length without prime factors above 5 as a product of 8, 4, 2, 3, 5, taken in this order. count < 0: there is none.
struct Radices {
  std::uint64_t packed = 0;  // four bits each
  int count = 0;

  constexpr int operator[](int i) const { return static_cast<int>(packed >> (4 * i) & 15); }
};
constexpr Radices radices_of(int length) {
  Radices out;
  for (int radix = 8; length > 1;) {
    if (length % radix == 0) {
      out.packed |= static_cast<std::uint64_t>(radix) << (4 * out.count++);
      length /= radix;
    } else if (radix == 5) {
      return {0, -1};
    } else {
      radix = radix > 2 && radix != 3 ? radix / 2 : radix == 2 ? 3 : 5;
    }
  }
  return out;
}

// The smallest 2^a, 3 * 2^a or 5 * 2^a >= n with a >= 1: what convolutions are padded to.
constexpr int padded_length(int n) {
  int power = 2;
  while (power < n) power *= 2;
  if (power >= 16 && power / 8 * 5 >= n) return power / 8 * 5;
  if (power >= 8 && power / 4 * 3 >= n) return power / 4 * 3;
  return power;
}

// A place is followed by a gap after each eight: threads that do transforms of 8 neighbouring places meet no others.
constexpr int panel_rows(int length) {
  return length + (length - 1) / 8;
}

template <class T>
struct Panel {
  Complex<T>* numbers;
  int stride;  // lanes of a place

  __device__ Complex<T>& at(int place, int lane) const { return numbers[(place + place / 8) * stride + lane]; }
};

// e^(-2 pi i k / n) for k < n as products of two of these, made by the block that uses them.
template <class T>
class Roots {
 public:
  static constexpr int kLow = 64;
  static constexpr int count(int n) { return kLow + n / kLow + 1; }

  // Complete after a barrier.
  __device__ Roots(int n, Complex<T>* memory) : n_(n), low_(memory), high_(memory + kLow) {
    for (int i = static_cast<int>(threadIdx.x); i < count(n); i += static_cast<int>(blockDim.x)) {
      const int k = i < kLow ? i : (i - kLow) * kLow;
      memory[i] = turn<T>(static_cast<std::uint32_t>(k % n), static_cast<std::uint32_t>(n));
    }
  }
  __device__ int length() const { return n_; }
  __device__ Complex<T> operator[](int k) const { return high_[k / kLow] * low_[k % kLow]; }

 private:
  int n_;
  const Complex<T>*low_, *high_;
};

// Lines of a panel: `sequences` groups of 2^bits lanes each.
template <int kSequences>
struct Lanes {
  int bits;

  // f(i, lane) for i < count and every lane, over the threads of the block.
  template <class F>
  __device__ void each(int count, const F& f) const {
    const int all = count * kSequences << bits;
    for (int e = static_cast<int>(threadIdx.x); e < all; e += static_cast<int>(blockDim.x)) {
      const int group = e >> bits, i = group / kSequences;
      f(i, ((group - i * kSequences) << bits) + (e & ((1 << bits) - 1)));
    }
  }
};

// One sweep over lines of `length` that are already cut into transforms of R * m. Forward: the small transform, then
// turns; backward: the other way round.
template <int R, bool kBackward, int kSequences, class T>
__device__ void panel_sweep(const Panel<T>& panel, Lanes<kSequences> lanes, const Roots<T>& roots, int length, int m) {
  const int step = roots.length() / (R * m);
  lanes.each(length / R, [&](int i, int lane) {
    const int block = i / m, j = i - block * m, first = block * R * m + j;
    Complex<T> v[R];
#pragma unroll
    for (int q = 0; q < R; ++q)
      v[q] = kBackward ? swapped(panel.at(first + q * m, lane)) : panel.at(first + q * m, lane);
    if (!kBackward) transform(v);
    if (m > 1) {
      const Complex<T> w = roots[j * step];
      v[1] = v[1] * w;
      if constexpr (R > 2) {  // few factors of factors: each is a rounding
        const Complex<T> w2 = roots[2 * j * step];
        v[2] = v[2] * w2;
        if constexpr (R > 3) v[3] = v[3] * (w * w2);
        if constexpr (R > 4) {
          const Complex<T> w4 = roots[4 * j * step];
          v[4] = v[4] * w4;
          if constexpr (R > 5) {
            v[5] = v[5] * (w * w4);
            v[6] = v[6] * (w2 * w4);
            v[7] = v[7] * ((w * w2) * w4);
          }
        }
      }
    }
    if (kBackward) transform(v);
#pragma unroll
    for (int q = 0; q < R; ++q) panel.at(first + q * m, lane) = kBackward ? swapped(v[q]) : v[q];
  });
  __syncthreads();
}

template <bool kBackward, int kSequences, class T>
__device__ void panel_radix(int radix, const Panel<T>& panel, Lanes<kSequences> lanes, const Roots<T>& roots,
                            int length, int m) {
  if (radix == 8)
    panel_sweep<8, kBackward>(panel, lanes, roots, length, m);
  else if (radix == 4)
    panel_sweep<4, kBackward>(panel, lanes, roots, length, m);
  else if (radix == 2)
    panel_sweep<2, kBackward>(panel, lanes, roots, length, m);
  else if (radix == 3)
    panel_sweep<3, kBackward>(panel, lanes, roots, length, m);
  else
    panel_sweep<5, kBackward>(panel, lanes, roots, length, m);
}

// Both are called by all threads of a block after a barrier, end with one, and are not normalised: there and back
// multiplies by `length`. Roots are of `length` or of a multiple.
template <int kSequences, class T>
__device__ void panel_forward(const Panel<T>& panel, Lanes<kSequences> lanes, const Roots<T>& roots, int length,
                              Radices radices) {
  int m = length;
  for (int s = 0; s < radices.count; ++s) {
    m /= radices[s];
    panel_radix<false>(radices[s], panel, lanes, roots, length, m);
  }
}
template <int kSequences, class T>
__device__ void panel_backward(const Panel<T>& panel, Lanes<kSequences> lanes, const Roots<T>& roots, int length,
                               Radices radices) {
  int m = 1;
  for (int s = radices.count - 1; s >= 0; --s) {
    panel_radix<true>(radices[s], panel, lanes, roots, length, m);
    m *= radices[s];
  }
}

// Where number k of a spectrum of `length` stands.
__device__ inline int panel_place(int k, int length, Radices radices) {
  int place = 0, m = length;
  for (int s = 0; s < radices.count; ++s) {
    const int radix = radices[s];
    int rest;
    if (radix == 8)
      m >>= 3, rest = k >> 3;
    else if (radix == 3)
      m /= 3, rest = k / 3;
    else if (radix == 5)
      m /= 5, rest = k / 5;
    else
      m /= radix, rest = k >> (radix / 2);
    place += (k - rest * radix) * m;
    k = rest;
  }
  return place;
}

// The spectrum of a real sequence of 2 h numbers from that of the h complex ones (x[2 j], x[2 j + 1]), numbers k and
// h - k at once, doubled; w = e^(-2 pi i k / (2 h)). And such a pair from a spectrum, doubled as well.
template <class T>
struct SpectrumPair {
  Complex<T> low, high;  // numbers k and h - k
};
template <class T>
__device__ inline SpectrumPair<T> unpacked(Complex<T> low, Complex<T> high, Complex<T> w) {
  const Complex<T> sum = low + conjugate(high), turned = times_minus_i(low - conjugate(high)) * w;
  return {sum + turned, conjugate(sum - turned)};
}
template <class T>
__device__ inline SpectrumPair<T> packed(const SpectrumPair<T>& x, Complex<T> w) {
  const Complex<T> sum = x.low + conjugate(x.high), turned = (x.low - conjugate(x.high)) * conjugate(w);
  const Complex<T> by_i = {-turned.im, turned.re};
  return {sum + by_i, conjugate(sum - by_i)};
}

}  // namespace subquad::kernels::cuda
