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

// The lines of one block: load(f), transform(), and operator() is what came of them. Numbers are e^(-...) sums.
// Bluestein: with w[j] = e^(-pi i j^2 / n),   X[k] = w[k] sum_j (x[j] w[j]) conj(w[k - j]).
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

  // number(i, lane) are those to transform.
  template <class Number>
  __device__ void load(const Number& number) const {
    each(plan_.length, [&](int i, int lane) {
      const Complex<T> x = number(i, lane);
      panel_.at(i, lane) = plan_.by_chirp() ? x * chirp(i) : x;
    });
  }
  __device__ void transform() const {
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
#pragma unroll 1
    for (int which = 0; which < (plan_.by_chirp() ? 2 : 1); ++which) {  // one copy of the code for both
      const Panel<T> panel = {which == 0 ? panel_.numbers : filter_.numbers, which == 0 ? panel_.stride : 1};
      panel_forward(panel, Lanes<1>{which == 0 ? plan_.bits : 0}, roots_, plan_.padded, plan_.radices);
    }
    if (!plan_.by_chirp()) return;
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

// Lines of real numbers have n = 2 length of them if that is even, and go as complex ones of half of that.
enum class LineKind { complex, real_even, real_odd, inverse_even, inverse_odd };

template <class T>
struct LineJob {
  LineKind kind;
  const T* x;
  T* out;
  bool backward;  // of complex lines
  T scale, inside;
};

// 2^bits neighbouring lines per block, the whole transform in shared memory. Each number is read and written once (the
// spectrum of a real line of even length twice, the second time from cache). Lines along the last axis are read along
// them, others across. One kernel for all kinds: the sweeps between are most of its code.
template <class T>
__global__ void __launch_bounds__(kMostThreads) fft_lines(LineJob<T> job, LinePlan plan, Signals signals) {
  SharedMemory shared;
  const int length = plan.length;
  const int extent = job.kind == LineKind::real_even || job.kind == LineKind::inverse_even ? 2 * length : length;
  const int bins = job.kind == LineKind::complex ? length : extent / 2 + 1;  // of a spectrum
  const bool inverse = job.kind == LineKind::inverse_even || job.kind == LineKind::inverse_odd;
  const LineTransform<T> lines(plan, signals, inverse ? bins : extent, inverse ? extent : bins, shared);
  const auto* const pairs = reinterpret_cast<const Complex<T>*>(job.x);
  auto* const out_pairs = reinterpret_cast<Complex<T>*>(job.out);
  const T scale = job.scale, inside = job.inside;

  switch (job.kind) {
    case LineKind::complex:
      lines.load([&](int i, int lane) {
        const Complex<T> v = pairs[lines.from(i, lane)];
        return job.backward ? swapped(v) : v;
      });
      break;
    case LineKind::real_even:
      lines.load([&](int i, int lane) {
        return Complex<T>{job.x[lines.from(2 * i, lane)], job.x[lines.from(2 * i + 1, lane)]};
      });
      break;
    case LineKind::real_odd:
      lines.load([&](int i, int lane) { return Complex<T>{job.x[lines.from(i, lane)], 0}; });
      break;
    case LineKind::inverse_even:
      lines.load([&](int k, int lane) {
        const T factor = k == 0 ? scale : scale * inside;
        SpectrumPair<T> pair = {scaled(pairs[lines.from(k, lane)], factor),
                                scaled(pairs[lines.from(length - k, lane)], factor)};
        if (k == 0) pair.low.im = pair.high.im = 0;
        return swapped(packed(pair, lines.half_turn(k)).low);
      });
      break;
    case LineKind::inverse_odd:
      lines.load([&](int k, int lane) {
        if (k == 0) return Complex<T>{0, pairs[lines.from(0, lane)].re * scale};  // swapped
        const bool stored = k <= length / 2;
        const Complex<T> v = scaled(pairs[lines.from(stored ? k : length - k, lane)], scale * inside);
        return swapped(stored ? v : conjugate(v));
      });
      break;
  }
  lines.transform();
  switch (job.kind) {
    case LineKind::complex:
      lines.each(length, [&](int k, int lane) {
        const Complex<T> v = scaled(lines(k, lane), scale);
        out_pairs[lines.to(k, lane)] = job.backward ? swapped(v) : v;
      });
      break;
    case LineKind::real_even:
      lines.each(length / 2 + 1, [&](int k, int lane) {
        const SpectrumPair<T> pair = unpacked(lines(k, lane), lines(k == 0 ? 0 : length - k, lane), lines.half_turn(k));
        const T factor = (k == 0 ? scale : scale * inside) / 2;  // `unpacked` gives the double
        out_pairs[lines.to(k, lane)] = scaled(pair.low, factor);
        if (2 * k != length) out_pairs[lines.to(length - k, lane)] = scaled(pair.high, factor);
      });
      break;
    case LineKind::real_odd:
      lines.each(bins, [&](int k, int lane) {
        const Complex<T> v = lines(k, lane);
        out_pairs[lines.to(k, lane)] = k == 0 ? Complex<T>{v.re * scale, 0} : scaled(v, scale * inside);
      });
      break;
    case LineKind::inverse_even:
      lines.each(length, [&](int j, int lane) {
        const Complex<T> v = swapped(lines(j, lane));
        job.out[lines.to(2 * j, lane)] = v.re;
        job.out[lines.to(2 * j + 1, lane)] = v.im;
      });
      break;
    case LineKind::inverse_odd:
      lines.each(length, [&](int j, int lane) { job.out[lines.to(j, lane)] = lines(j, lane).im; });
      break;
  }
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

template <class T>
void launch_lines(const char* op, const LineJob<T>& job, const LinePlan& plan, const Signals& signals) {
  const Index work = (static_cast<Index>(plan.padded) << plan.bits) / 8;
  const auto threads = static_cast<unsigned>(std::clamp<Index>((work + 31) / 32 * 32, 32, kMostThreads));
  launch(fft_lines<T>, dim3(blocks_for(op, signals.count, Index{1} << plan.bits)), dim3(threads),
         plan.shared_bytes<T>(), current_stream(), job, plan, signals);
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
LineJob<T> job_of(LineKind kind, const Tensor& x, bool backward, double scale, double inside, Tensor& out) {
  return {kind,
          reinterpret_cast<const T*>(x.bytes()),
          reinterpret_cast<T*>(out.bytes()),
          backward,
          static_cast<T>(scale),
          static_cast<T>(inside)};
}

}  // namespace

void fft(const Tensor& x, bool backward, double scale, Tensor& out) {
  const Signals signals = {x.dim(0) * x.dim(2), x.dim(2)};
  const Index n = x.dim(1);
  const auto run = [&]<class T>(Type<T>) {
    if (!fits<T>(n)) return long_fft(x, backward, scale, out);
    launch_lines("fft", job_of<T>(LineKind::complex, x, backward, scale, 1, out),
                 plan_lines<T>(signals, static_cast<int>(n), false), signals);
  };
  x.dtype() == kComplex64 ? run(Type<float>()) : run(Type<double>());
}

void rfft(const Tensor& x, double scale, double inside, Tensor& out) {
  const Signals signals = {x.dim(0) * x.dim(2), x.dim(2)};
  const Index n = x.dim(1), length = n % 2 == 0 ? n / 2 : n;
  visit_float("rfft", x.dtype(), [&]<class T>(Type<T>) {
    if (!fits<T>(length)) return long_rfft(x, scale, inside, out);
    launch_lines("rfft", job_of<T>(n % 2 == 0 ? LineKind::real_even : LineKind::real_odd, x, false, scale, inside, out),
                 plan_lines<T>(signals, static_cast<int>(length), n % 2 == 0), signals);
  });
}

void irfft(const Tensor& x, double scale, double inside, Tensor& out) {
  const Signals signals = {out.dim(0) * out.dim(2), out.dim(2)};
  const Index n = out.dim(1), length = n % 2 == 0 ? n / 2 : n;
  visit_float("irfft", out.dtype(), [&]<class T>(Type<T>) {
    if (!fits<T>(length)) return long_irfft(x, scale, inside, out);
    launch_lines("irfft",
                 job_of<T>(n % 2 == 0 ? LineKind::inverse_even : LineKind::inverse_odd, x, false, scale, inside, out),
                 plan_lines<T>(signals, static_cast<int>(length), n % 2 == 0), signals);
  });
}

}  // namespace subquad::kernels::cuda
