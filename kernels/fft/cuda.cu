#include "subquad/kernels/fft/cuda.h"

#include <algorithm>

#include "subquad/core/tensor.h"
#include "subquad/kernels/fft/cuda_long.h"
#include "subquad/kernels/fft/panel.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kMostThreads = 256;
constexpr std::size_t kMostBytes = std::size_t{96} << 10;  // of a block's shared memory: every device has so much

// How a block transforms lines of `length` complex numbers: 2^bits lines side by side.
struct LinePlan {
  int length = 1;
  int padded = 1;  // what goes through the panel: length, or for Bluestein's way a smooth length >= 2 length - 1
  int roots = 1;   // a multiple of `padded`
  Radices radices;
  int bits = 0;

  __host__ __device__ bool by_chirp() const { return padded != length; }

  template <class T>
  std::size_t shared_bytes() const {
    const auto rows = static_cast<std::size_t>(panel_rows(padded));
    return shared_size<Complex<T>>(rows << bits) + shared_size<Complex<T>>(by_chirp() ? rows : 0) +
           shared_size<Complex<T>>(Roots<T>::count(roots)) + 2 * shared_size<Index>(std::size_t{1} << bits);
  }
};

// Lines of a tensor [outer, n, inner].
struct Signals {
  Index count = 0, inner = 1;
};

// The lines of one block. Numbers are e^(-...) sums; load(i, lane) gives those to transform, operator() what came of
// them. Bluestein: with w[j] = e^(-pi i j^2 / n),   X[k] = w[k] sum_j (x[j] w[j]) conj(w[k - j]).
template <class T>
class LineTransform {
 public:
  __device__ LineTransform(const LinePlan& plan, const Signals& signals, Index in_extent, Index out_extent,
                           SharedMemory& shared)
      : plan_(plan),
        lanes_{plan.bits},
        along_(signals.inner == 1),
        panel_{shared.take<Complex<T>>(panel_rows(plan.padded) << plan.bits), 1 << plan.bits},
        filter_{shared.take<Complex<T>>(plan.by_chirp() ? panel_rows(plan.padded) : 0), 1},
        roots_(plan.roots, shared.take<Complex<T>>(Roots<T>::count(plan.roots))),
        from_(shared.take<Index>(1 << plan.bits)),
        to_(shared.take<Index>(1 << plan.bits)),
        step_(signals.inner) {
    for (int lane = static_cast<int>(threadIdx.x); lane < 1 << plan.bits; lane += static_cast<int>(blockDim.x)) {
      const Index signal = (Index{blockIdx.x} << plan.bits) + lane;
      const Index outer = signal / signals.inner, rest = signal - outer * signals.inner;
      from_[lane] = signal < signals.count ? outer * in_extent * signals.inner + rest : -1;
      to_[lane] = outer * out_extent * signals.inner + rest;
    }
    __syncthreads();
  }

  // f(i, lane) for i < count and every lane that has a line; neighbouring threads have neighbours in memory.
  template <class F>
  __device__ void each(int count, const F& f) const {
    if (!along_)
      return lanes_.each(count, [&](int i, int lane) {
        if (from_[lane] >= 0) f(i, lane);
      });
    for (int e = static_cast<int>(threadIdx.x); e < count << plan_.bits; e += static_cast<int>(blockDim.x)) {
      const int lane = e / count;
      if (from_[lane] >= 0) f(e - lane * count, lane);
    }
  }
  // Where number i of a lane stands in the input and in the output.
  __device__ Index from(int i, int lane) const { return from_[lane] + i * step_; }
  __device__ Index to(int i, int lane) const { return to_[lane] + i * step_; }

  template <class Load>
  __device__ void run(const Load& load) const {
    each(plan_.length, [&](int i, int lane) {
      const Complex<T> x = load(i, lane);
      panel_.at(i, lane) = plan_.by_chirp() ? x * chirp(i) : x;
    });
    if (plan_.by_chirp()) {
      each(plan_.padded - plan_.length, [&](int i, int lane) { panel_.at(plan_.length + i, lane) = {0, 0}; });
      Lanes<1>{0}.each(plan_.padded, [&](int i, int) {
        const int j = i < plan_.padded - i ? i : plan_.padded - i;
        filter_.at(i, 0) = j < plan_.length ? conjugate(chirp(j)) : Complex<T>{0, 0};
      });
    }
    if (from_[(1 << plan_.bits) - 1] < 0)  // lanes without a line are transformed with the others
      lanes_.each(plan_.padded, [&](int i, int lane) {
        if (from_[lane] < 0) panel_.at(i, lane) = {0, 0};
      });
    __syncthreads();
    panel_forward(panel_, lanes_, roots_, plan_.padded, plan_.radices);
    if (!plan_.by_chirp()) return;
    panel_forward(filter_, Lanes<1>{0}, roots_, plan_.padded, plan_.radices);
    const T scale = 1 / static_cast<T>(plan_.padded);
    lanes_.each(plan_.padded,
                [&](int i, int lane) { panel_.at(i, lane) = scaled(panel_.at(i, lane) * filter_.at(i, 0), scale); });
    __syncthreads();
    panel_backward(panel_, lanes_, roots_, plan_.padded, plan_.radices);
  }

  __device__ Complex<T> operator()(int k, int lane) const {
    if (plan_.by_chirp()) return panel_.at(k, lane) * chirp(k);
    return panel_.at(panel_place(k, plan_.length, plan_.radices), lane);
  }
  // e^(-pi i k / length)
  __device__ Complex<T> half_turn(int k) const {
    if (!plan_.by_chirp()) return roots_[k];
    return turn<T>(static_cast<std::uint32_t>(k), static_cast<std::uint32_t>(2 * plan_.length));
  }

 private:
  __device__ Complex<T> chirp(int j) const {
    const std::uint32_t whole = 2 * static_cast<std::uint32_t>(plan_.length), u = static_cast<std::uint32_t>(j);
    return turn<T>(u * u % whole, whole);
  }

  LinePlan plan_;
  Lanes<1> lanes_;
  bool along_;
  Panel<T> panel_, filter_;
  Roots<T> roots_;
  Index *from_, *to_;
  Index step_;
};

// All five: 2^bits neighbouring lines per block, the whole transform in shared memory. Each number is read and written
// once (the spectrum of a real line of even length twice, the second time from cache). Lines along the last axis are
// read along them, others across.

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    fft_complex(const Complex<T>* x, Complex<T>* out, LinePlan plan, Signals signals, bool backward, T scale) {
  SharedMemory shared;
  const LineTransform<T> lines(plan, signals, plan.length, plan.length, shared);
  lines.run([&](int i, int lane) {
    const Complex<T> v = x[lines.from(i, lane)];
    return backward ? swapped(v) : v;
  });
  lines.each(plan.length, [&](int k, int lane) {
    const Complex<T> v = scaled(lines(k, lane), scale);
    out[lines.to(k, lane)] = backward ? swapped(v) : v;
  });
}

// Lines of n = 2 length real numbers go as complex ones of half of that.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    fft_real_even(const T* x, Complex<T>* out, LinePlan plan, Signals signals, T scale, T inside) {
  SharedMemory shared;
  const int half = plan.length;
  const LineTransform<T> lines(plan, signals, 2 * half, half + 1, shared);
  lines.run([&](int i, int lane) { return Complex<T>{x[lines.from(2 * i, lane)], x[lines.from(2 * i + 1, lane)]}; });
  lines.each(half / 2 + 1, [&](int k, int lane) {
    const SpectrumPair<T> pair = unpacked(lines(k, lane), lines(k == 0 ? 0 : half - k, lane), lines.half_turn(k));
    const T factor = (k == 0 ? scale : scale * inside) / 2;  // `unpacked` gives the double
    out[lines.to(k, lane)] = scaled(pair.low, factor);
    if (2 * k != half) out[lines.to(half - k, lane)] = scaled(pair.high, factor);
  });
}

// Lines of an odd number of real numbers go as complex ones.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    fft_real_odd(const T* x, Complex<T>* out, LinePlan plan, Signals signals, T scale, T inside) {
  SharedMemory shared;
  const LineTransform<T> lines(plan, signals, plan.length, plan.length / 2 + 1, shared);
  lines.run([&](int i, int lane) { return Complex<T>{x[lines.from(i, lane)], 0}; });
  lines.each(plan.length / 2 + 1, [&](int k, int lane) {
    const Complex<T> v = lines(k, lane);
    out[lines.to(k, lane)] = k == 0 ? Complex<T>{v.re * scale, 0} : scaled(v, scale * inside);
  });
}

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    fft_inverse_even(const Complex<T>* x, T* out, LinePlan plan, Signals signals, T scale, T inside) {
  SharedMemory shared;
  const int half = plan.length;
  const LineTransform<T> lines(plan, signals, half + 1, 2 * half, shared);
  lines.run([&](int k, int lane) {
    const T factor = k == 0 ? scale : scale * inside;
    SpectrumPair<T> pair = {scaled(x[lines.from(k, lane)], factor), scaled(x[lines.from(half - k, lane)], factor)};
    if (k == 0) pair.low.im = pair.high.im = 0;
    return swapped(packed(pair, lines.half_turn(k)).low);
  });
  lines.each(half, [&](int j, int lane) {
    const Complex<T> v = swapped(lines(j, lane));
    out[lines.to(2 * j, lane)] = v.re;
    out[lines.to(2 * j + 1, lane)] = v.im;
  });
}

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    fft_inverse_odd(const Complex<T>* x, T* out, LinePlan plan, Signals signals, T scale, T inside) {
  SharedMemory shared;
  const int n = plan.length;
  const LineTransform<T> lines(plan, signals, n / 2 + 1, n, shared);
  lines.run([&](int k, int lane) {
    if (k == 0) return Complex<T>{0, x[lines.from(0, lane)].re * scale};  // swapped
    const Complex<T> v = scaled(x[lines.from(k <= n / 2 ? k : n - k, lane)], scale * inside);
    return swapped(k <= n / 2 ? v : conjugate(v));
  });
  lines.each(n, [&](int j, int lane) { out[lines.to(j, lane)] = lines(j, lane).im; });
}

// A plan for `count` lines of `length` numbers, roots for twice as many where `real`.
template <class T>
LinePlan plan_lines(const Signals& signals, int length, bool real) {
  LinePlan plan;
  plan.length = plan.padded = length;
  plan.radices = radices_of(length);
  if (plan.radices.count < 0) {
    plan.padded = padded_length(2 * length - 1);
    plan.radices = radices_of(plan.padded);
  }
  plan.roots = real && !plan.by_chirp() ? 2 * length : plan.padded;
  // More lines per block while that makes neighbours in memory or gives its threads work, while two blocks fit into a
  // multiprocessor and while the blocks still fill a large device. Results do not depend on it.
  constexpr Index kBlocks = 2 * 132;
  const std::size_t half_memory = properties(current_device()).shared_bytes_per_block / 2 - (std::size_t{1} << 10);
  const auto useful = [&](int lines) {
    return static_cast<Index>(lines) * length <= 8 * kMostThreads || (signals.inner > 1 && lines * sizeof(T) <= 32);
  };
  while (useful(2 << plan.bits) && signals.count >> (plan.bits + 1) >= kBlocks) {
    ++plan.bits;
    if (plan.shared_bytes<T>() <= std::min(kMostBytes, half_memory)) continue;
    --plan.bits;
    break;
  }
  return plan;
}

template <class T, class From, class To, class... Args>
void launch_lines(const char* op, void (*kernel)(const From*, To*, LinePlan, Signals, Args...), const LinePlan& plan,
                  const Signals& signals, const From* x, To* out, std::type_identity_t<Args>... args) {
  const Index work = (static_cast<Index>(plan.padded) << plan.bits) / 8;
  const auto threads = static_cast<unsigned>(std::clamp<Index>((work + 31) / 32 * 32, 32, kMostThreads));
  launch(kernel, dim3(blocks_for(op, signals.count, Index{1} << plan.bits)), dim3(threads), plan.shared_bytes<T>(),
         current_stream(), x, out, plan, signals, args...);
}

// Can a block hold a line of `length` complex numbers?
template <class T>
bool fits(Index length) {
  constexpr Index kLongest = 1 << 15;  // of any that fits
  if (length > kLongest) return false;
  const LinePlan plan = plan_lines<T>({1, 1}, static_cast<int>(length), true);
  return plan.shared_bytes<T>() <= kMostBytes;
}

template <class T>
const Complex<T>* complex_numbers(const Tensor& x) {
  return reinterpret_cast<const Complex<T>*>(x.bytes());
}
template <class T>
Complex<T>* complex_numbers(Tensor& x) {
  return reinterpret_cast<Complex<T>*>(x.bytes());
}

}  // namespace

void fft(const Tensor& x, bool backward, double scale, Tensor& out) {
  const Signals signals = {x.dim(0) * x.dim(2), x.dim(2)};
  const Index n = x.dim(1);
  const auto run = [&]<class T>(Type<T>) {
    if (!fits<T>(n)) return long_fft(x, backward, scale, out);
    launch_lines<T>("fft", fft_complex<T>, plan_lines<T>(signals, static_cast<int>(n), false), signals,
                    complex_numbers<T>(x), complex_numbers<T>(out), backward, static_cast<T>(scale));
  };
  x.dtype() == kComplex64 ? run(Type<float>()) : run(Type<double>());
}

void rfft(const Tensor& x, double scale, double inside, Tensor& out) {
  const Signals signals = {x.dim(0) * x.dim(2), x.dim(2)};
  const Index n = x.dim(1), length = n % 2 == 0 ? n / 2 : n;
  visit_float("rfft", x.dtype(), [&]<class T>(Type<T>) {
    if (!fits<T>(length)) return long_rfft(x, scale, inside, out);
    launch_lines<T>("rfft", n % 2 == 0 ? fft_real_even<T> : fft_real_odd<T>,
                    plan_lines<T>(signals, static_cast<int>(length), n % 2 == 0), signals, x.data<T>(),
                    complex_numbers<T>(out), static_cast<T>(scale), static_cast<T>(inside));
  });
}

void irfft(const Tensor& x, double scale, double inside, Tensor& out) {
  const Signals signals = {out.dim(0) * out.dim(2), out.dim(2)};
  const Index n = out.dim(1), length = n % 2 == 0 ? n / 2 : n;
  visit_float("irfft", out.dtype(), [&]<class T>(Type<T>) {
    if (!fits<T>(length)) return long_irfft(x, scale, inside, out);
    launch_lines<T>("irfft", n % 2 == 0 ? fft_inverse_even<T> : fft_inverse_odd<T>,
                    plan_lines<T>(signals, static_cast<int>(length), n % 2 == 0), signals, complex_numbers<T>(x),
                    out.data<T>(), static_cast<T>(scale), static_cast<T>(inside));
  });
}

}  // namespace subquad::kernels::cuda
