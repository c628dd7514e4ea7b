#include "subquad/kernels/fft/cpu_plan.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <list>
#include <mutex>
#include <numbers>

namespace subquad::kernels::cpu {
namespace {

using Complex = std::complex<double>;

// e^(-2 pi i k / n), 0 <= k: the angle is brought below pi / 4 in integers, so that it is as exact as a double can be.
Complex root(Index k, Index n) {
  k %= n;
  const Index quarter = (4 * k + n / 2) / n;
  const double angle = std::numbers::pi / 2 * static_cast<double>(4 * k - quarter * n) / static_cast<double>(n);
  const double c = std::cos(angle), s = std::sin(angle);
  switch (quarter % 4) {
    case 0: return {c, -s};
    case 1: return {-s, -c};
    case 2: return {-c, s};
    default: return {s, c};
  }
}

template <class T>
void append(std::vector<T>& turns, Complex w) {
  turns.push_back(static_cast<T>(w.real()));
  turns.push_back(static_cast<T>(w.imag()));
}

int next_radix(Index n) {
  if (n % 3 == 0) return 3;
  if (n % 5 == 0) return 5;
  if (n % 8 == 0 && n != 16) return 8;  // 16 = 4 * 4, not 8 * 2
  return n % 4 == 0 ? 4 : 2;
}

template <class T>
FftLine<T> make_line(Index n) {
  FftLine<T> line;
  line.length = n;
  for (Index left = n, stride = 1; left > 1;) {
    const int radix = next_radix(left);
    const Index rest = left / radix;
    line.stages.push_back({radix, rest, stride, line.turns.size()});
    for (Index p = 0; p < rest; ++p)
      for (int k = 1; k < radix; ++k) append(line.turns, root(p * k, left));
    left = rest;
    stride *= radix;
  }
  return line;
}

constexpr std::size_t kMostLanes = 16;  // of any vector: may be read where a row of factors ends

constexpr Index kOneRun = 64;  // up to here a transform is one run: both its buffers fit the first-level cache

// The divisor of n that comes nearest to its square root from above.
Index outer_of(Index n) {
  if (n <= kOneRun) return 1;
  Index outer = static_cast<Index>(std::sqrt(static_cast<double>(n)));
  while (outer * outer < n || n % outer != 0) ++outer;
  return outer;
}

// The plain recursion, in double: only for the filter of a plan.
std::vector<Complex> transform(const std::vector<Complex>& x) {
  const auto n = static_cast<Index>(x.size());
  if (n == 1) return x;
  const Index radix = n % 2 == 0 ? 2 : n % 3 == 0 ? 3 : 5, rest = n / radix;
  std::vector<Complex> out(x.size());
  for (Index j = 0; j < radix; ++j) {
    std::vector<Complex> part(static_cast<std::size_t>(rest));
    for (Index i = 0; i < rest; ++i) part[static_cast<std::size_t>(i)] = x[static_cast<std::size_t>(j + radix * i)];
    part = transform(part);
    for (Index k = 0; k < n; ++k)
      out[static_cast<std::size_t>(k)] += root(j * k, n) * part[static_cast<std::size_t>(k % rest)];
  }
  return out;
}

template <class T>
void make_bluestein(FftPlan<T>& plan) {
  const Index n = plan.length;
  plan.padded = fft_plan<T>(padded_length(2 * n - 1));
  const Index m = plan.padded->length;
  std::vector<Complex> filter(static_cast<std::size_t>(m));
  for (Index j = 0; j < n; ++j) {
    const Complex w = root(j * j % (2 * n), 2 * n);
    append(plan.chirp, w);
    filter[static_cast<std::size_t>(j)] = filter[static_cast<std::size_t>((m - j) % m)] = std::conj(w);
  }
  filter = transform(filter);
  for (Index k1 = 0; k1 < plan.padded->outer; ++k1)
    for (Index k2 = 0; k2 < plan.padded->inner; ++k2)
      append(plan.filter, filter[static_cast<std::size_t>(k1 + plan.padded->outer * k2)] / static_cast<double>(m));
}

template <class T>
std::shared_ptr<const FftPlan<T>> make_plan(Index n) {
  auto plan = std::make_shared<FftPlan<T>>();
  plan->length = n;
  for (Index k = 0; k <= n / 2; ++k) append(plan->half_turns, root(k, 2 * n));
  if (is_smooth(n)) {
    plan->outer = outer_of(n);
    plan->inner = n / plan->outer;
    plan->column = make_line<T>(plan->outer);
    plan->run = make_line<T>(plan->inner);
    for (Index k = 0; k < plan->inner; ++k) append(plan->run_half_turns, root(k, 2 * plan->inner));
    for (Index k = 0; plan->outer > 1 && k < plan->outer; ++k)
      for (Index c = 0; c < plan->inner; ++c) {
        const Complex w = root(c * k, n);
        plan->turns_re.push_back(static_cast<T>(w.real()));
        plan->turns_im.push_back(static_cast<T>(w.imag()));
      }
    for (std::vector<T>* turns : {&plan->turns_re, &plan->turns_im}) turns->resize(turns->size() + kMostLanes);
  } else {
    make_bluestein(*plan);
  }
  return plan;
}

// The plans used last. What is thrown out lives on in the hands of those that use it.
template <class T>
struct Cache {
  std::mutex mutex;
  std::list<std::shared_ptr<const FftPlan<T>>> plans;  // the one used last in front
};
constexpr std::size_t kCached = 48;

template <class T>
std::shared_ptr<const FftPlan<T>> find(Cache<T>& cache, Index n) {  // under the lock
  const auto found =
      std::find_if(cache.plans.begin(), cache.plans.end(), [n](const auto& plan) { return plan->length == n; });
  if (found == cache.plans.end()) return nullptr;
  cache.plans.splice(cache.plans.begin(), cache.plans, found);
  return *found;
}

}  // namespace

bool is_smooth(Index n) {
  for (const Index factor : {2, 3, 5})
    while (n % factor == 0) n /= factor;
  return n == 1;
}

Index padded_length(Index n) {
  Index best = 0;
  for (const Index factor : {1, 3, 5}) {
    Index length = 2 * factor;
    while (length < n) length *= 2;
    if (best == 0 || length < best) best = length;
  }
  return best;
}

template <class T>
std::shared_ptr<const FftPlan<T>> fft_plan(Index n) {
  static Cache<T> cache;
  {
    const std::lock_guard lock(cache.mutex);
    if (auto plan = find(cache, n)) return plan;
  }
  auto plan = make_plan<T>(n);  // without the lock: a plan may need another
  const std::lock_guard lock(cache.mutex);
  if (auto made_by_another_thread = find(cache, n)) return made_by_another_thread;
  cache.plans.push_front(plan);
  if (cache.plans.size() > kCached) cache.plans.pop_back();
  return plan;
}

template std::shared_ptr<const FftPlan<float>> fft_plan(Index n);
template std::shared_ptr<const FftPlan<double>> fft_plan(Index n);

}  // namespace subquad::kernels::cpu
