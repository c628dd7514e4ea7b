#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/chord_matmul/cpu.cpp"
#include "subquad/kernels/chord_matmul/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/parallel.h"
#include "subquad/kernels/chord_matmul/butterfly-inl.h"
#include "subquad/kernels/chord_matmul/rows-inl.h"
#include "subquad/kernels/simd/past_caches.h"

// A chain runs sample by sample, so that the values of one factor are still in L2 when the next one reads them. Many
// samples go to the threads whole; of a few, each factor's rows do. Either way a row is computed alone, to the same
// bits.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kManySamples = 8;
inline constexpr Index kRows = 256;  // rows to a task: what a run is prepared with is little beside them
inline constexpr Index kPastCaches = kLastCache / 4;

template <class T>
struct Chain {
  const ChainArguments& args;
  View<const T, 4> weights;  // [M, B, N, L]
  View<const T, 3> values;   // [B, N, D]
  Index factors, batch, positions, links, width;
  std::vector<Links> mirrors;

  explicit Chain(const ChainArguments& a)
      : args(a),
        weights(a.weights.view<const T, 4>()),
        values(a.values.view<const T, 3>()),
        factors(a.weights.dim(0)),
        batch(a.values.dim(0)),
        positions(a.values.dim(1)),
        links(a.weights.dim(3)),
        width(a.values.dim(2)) {
    for (const Links& factor : a.links) mirrors.push_back(mirrored(factor));
  }

  const Links& pattern(Index m) const { return args.links[static_cast<std::size_t>(m)]; }
  const Links& mirror(Index m) const { return mirrors[static_cast<std::size_t>(m)]; }
  Index length(Index b) const { return args.mask.defined() ? args.mask.lengths.data<Index>()[b] : positions; }

  const T* weights_of(Index m, Index b) const { return weights.data() + m * weights.stride(0) + b * weights.stride(1); }
  const T* values_of(Index b) const { return values.data() + b * positions * width; }
  // V_m of a sample among what the forward keeps; m = 1 ... M - 1
  Index kept_at(Index m, Index b) const { return ((m - 1) * batch + b) * positions * width; }

  template <class F>
  void for_samples(const F& f) const {
    if (batch < kManySamples) {
      for (Index b = 0; b < batch; ++b) f(b);
    } else {
      parallel_for(batch, factors * positions * links * width / 8, f);
    }
  }

  template <class F>
  void for_rows(Index rows, const F& f) const {
    parallel_chunks(rows, kRows, links * width / 8, f);
  }
};

// Numbers from the caching allocator.
template <class T>
class Buffer {
 public:
  explicit Buffer(Index count) : memory_(empty({count}, dtype_of<T>(), kCpu)), data_(memory_.data<T>()) {}
  T* data() const { return data_; }

 private:
  Tensor memory_;
  T* data_;
};

template <class T>
bool Streams(const T* to, Index width) {
  return on_whole_lines(to, width * static_cast<Index>(sizeof(T)));
}

// Where n rows do not fit into the last cache beside those they are made of, lines that are fetched only to be
// overwritten cost more than rows that the next factor does not find there.
template <class T>
Destination<T> WrittenOnce(T* to, Index n, Index width) {
  const bool past = n * width * static_cast<Index>(sizeof(T)) >= kPastCaches && Streams(to, width);
  return past ? Destination<T>{nullptr, to} : Destination<T>{to, nullptr};
}

// Shall what is kept for backward go past the caches, and the next factor read from a buffer that stays in them?
template <class T>
bool KeptAside(const Chain<T>& chain, const T* kept) {
  const Index one = chain.positions * chain.width * static_cast<Index>(sizeof(T));
  return kept != nullptr && Streams(kept, chain.width) && one < kPastCaches &&
         (chain.factors - 1) * chain.batch * one >= 4 * kPastCaches;
}

template <class T>
HWY_INLINE void ZeroRows(T* matrix, Index begin, Index end, Index width) {
  std::fill(matrix + begin * width, matrix + end * width, T(0));
}

// Rows [begin, end) of W_m times `from`, plus those of `start`.
template <class T>
void ForwardRows(const Chain<T>& chain, Index m, Index b, Index n, const T* from, const T* start,
                 const Destination<T>& to, Index begin, Index end) {
  const hn::ScalableTag<T> d;
  std::vector<Index> row_at;
  row_at.reserve(static_cast<std::size_t>(chain.links));
  for (Runs run(chain.pattern(m), begin, end, n); run.next();) {
    row_at.clear();
    for (const Index distance : run.distances()) row_at.push_back(distance * chain.width);
    WeighRange(d,
               Weighing<T>{run.count(), chain.weights_of(m, b), chain.links, run.links().data(), from, chain.width,
                           row_at.data(), start, to},
               run.begin(), run.end());
  }
  if (to.streamed != nullptr) hwy::FlushStream();
}

template <class T>
void ForwardFactor(const Chain<T>& chain, Index m, Index b, Index n, const T* from, const T* start,
                   const Destination<T>& to) {
  const Pairs pairs(chain.pattern(m), n);
  if (pairs.distance == 0)
    return chain.for_rows(
        n, [&](Index begin, Index end) HWY_ATTR { ForwardRows(chain, m, b, n, from, start, to, begin, end); });
  const Mixing<T> mixing{chain.weights_of(m, b), from, start, to, chain.width};
  chain.for_rows(pairs.count(), [&](Index begin, Index end) HWY_ATTR {
    MixPairs(hn::ScalableTag<T>(), mixing, pairs, begin, end);
    if (to.streamed != nullptr) hwy::FlushStream();
  });
}

template <class T>
void Forward(const Chain<T>& chain, T* kept, T* out) {
  const Index size = chain.positions * chain.width;
  const bool aside = KeptAside(chain, kept);
  chain.for_samples([&](Index b) HWY_ATTR {
    const Index n = chain.length(b);
    const Buffer<T> spare((kept == nullptr || aside) && chain.factors > 1 ? n * chain.width : 0);
    const T* from = chain.values_of(b);
    for (Index m = 0; m < chain.factors; ++m) {
      T* const keep = kept != nullptr && m + 1 < chain.factors ? kept + chain.kept_at(m + 1, b) : nullptr;
      // Without `kept`, or with it aside, two buffers take turns, so that the last factor writes to `out`.
      T* to = (chain.factors - m) % 2 == 0 ? spare.data() : out + b * size;
      if (keep != nullptr && !aside) to = keep;
      const T* start = chain.args.residual == MixResidual::running ? from : nullptr;
      if (chain.args.residual == MixResidual::fixed) start = chain.values_of(b);
      const Destination<T> rows = aside ? Destination<T>{to, keep} : WrittenOnce(to, n, chain.width);
      ForwardFactor(chain, m, b, n, from, start, rows);
      if (keep != nullptr) ZeroRows(keep, n, chain.positions, chain.width);
      from = to;
    }
    ZeroRows(out + b * size, n, chain.positions, chain.width);
  });
}

template <class T>
HWY_INLINE void AddRows(const T* rows, Index begin, Index end, Index width, T* sum) {
  for (Index i = begin * width; i < end * width; ++i) sum[i] += rows[i];
}

// Where a sample stands on its way back through factor m.
template <class T>
struct Step {
  Index m, b, n;
  const T* up;    // gradient of V_m
  const T* from;  // V_{m-1}
  const T* start;
  T* to;  // gradient of V_{m-1}, `start` included
  T* dweights;
};

// Rows [begin, end) of the transposed factor times `up`, plus those of `start`, and every gradient of a weight that
// leads to one of them.
template <class T>
void BackwardRows(const Chain<T>& chain, const Step<T>& step, Index begin, Index end) {
  const hn::ScalableTag<T> d;
  const Destination<T> to = WrittenOnce(step.to, step.n, chain.width);
  const Buffer<T> dots(chain.links + static_cast<Index>(hn::MaxLanes(d)));
  std::fill_n(dots.data(), chain.links, T(0));  // stay so where rows have no width
  std::vector<Index> row_at, weight_at;
  row_at.reserve(static_cast<std::size_t>(chain.links));
  weight_at.reserve(static_cast<std::size_t>(chain.links));
  for (Runs run(chain.mirror(step.m), begin, end, step.n); run.next();) {
    row_at.clear();
    weight_at.clear();
    for (std::size_t a = 0; a < run.distances().size(); ++a) {
      row_at.push_back(run.distances()[a] * chain.width);
      weight_at.push_back(run.distances()[a] * chain.links + run.links()[a]);
    }
    const Returning<T> rows{run.count(),
                            chain.weights_of(step.m, step.b),
                            step.dweights,
                            chain.links,
                            weight_at.data(),
                            step.up,
                            chain.width,
                            row_at.data(),
                            step.from,
                            step.start,
                            to};
    for (Index j = run.begin(); j < run.end(); ++j) ReturnRow(d, rows, j, dots.data());
  }
  if (to.streamed != nullptr) hwy::FlushStream();
}

// Zeros for the links that drop out: nobody returns along them.
template <class T>
void ZeroDropped(const Chain<T>& chain, const Step<T>& step) {
  if (chain.pattern(step.m).rule != LinkRule::flip) return;
  for (Runs run(chain.pattern(step.m), 0, step.n, step.n); run.next();)
    if (run.count() < chain.links) ZeroRows(step.dweights, run.begin(), run.end(), chain.links);
}

template <class T>
void BackwardFactor(const Chain<T>& chain, const Step<T>& step) {
  ZeroRows(step.dweights, step.n, chain.positions, chain.links);
  const Pairs pairs(chain.pattern(step.m), step.n);
  if (pairs.distance == 0) {
    ZeroDropped(chain, step);
    return chain.for_rows(step.n, [&](Index begin, Index end) HWY_ATTR { BackwardRows(chain, step, begin, end); });
  }
  const Destination<T> to = WrittenOnce(step.to, step.n, chain.width);
  const Mixing<T> mixing{chain.weights_of(step.m, step.b), step.up, step.start, to, chain.width};
  const Unmixing<T> unmixing{mixing, step.from, step.dweights};
  chain.for_rows(pairs.count(), [&](Index begin, Index end) HWY_ATTR {
    UnmixPairs(hn::ScalableTag<T>(), unmixing, pairs, begin, end);
    if (to.streamed != nullptr) hwy::FlushStream();
  });
}

template <class T>
void Backward(const Chain<T>& chain, const T* dout, const T* kept, T* dweights, T* dvalues) {
  const Index size = chain.positions * chain.width, weight_size = chain.positions * chain.links;
  const MixResidual residual = chain.args.residual;
  chain.for_samples([&](Index b) HWY_ATTR {
    const Index n = chain.length(b);
    const Buffer<T> buffers[] = {Buffer<T>(chain.factors > 1 ? n * chain.width : 0),
                                 Buffer<T>(chain.factors > 2 ? n * chain.width : 0)};
    T* last = dvalues + b * size;
    T* total = residual == MixResidual::fixed ? last : nullptr;  // the sum of the gradients of V_1 ... V_M
    if (total != nullptr) ZeroRows(total, 0, n, chain.width);
    const T* up = dout + b * size;
    for (Index m = chain.factors - 1; m >= 0; --m) {
      const T* from = m > 0 ? kept + chain.kept_at(m, b) : chain.values_of(b);
      const T* start = residual == MixResidual::running ? up : nullptr;
      if (m == 0 && total != nullptr) start = total;
      T* to = m > 0 ? buffers[(chain.factors - 1 - m) % 2].data() : last;
      const Step<T> step{m, b, n, up, from, start, to, dweights + (m * chain.batch + b) * weight_size};
      if (total != nullptr)
        chain.for_rows(n, [&](Index begin, Index end) HWY_ATTR { AddRows(up, begin, end, chain.width, total); });
      BackwardFactor(chain, step);
      up = to;
    }
    ZeroRows(last, n, chain.positions, chain.width);
  });
}

}  // namespace

void ChordChain(const ChainArguments& args, Tensor& kept, Tensor& out) {
  visit_float("chord_chain", out.dtype(), [&]<class T>(Type<T>) {
    Forward(Chain<T>(args), kept.defined() ? kept.data<T>() : nullptr, out.data<T>());
  });
}

void ChordChainGrad(const ChainArguments& args, const Tensor& dout, const Tensor& kept, Tensor& dweights,
                    Tensor& dvalues) {
  visit_float("chord_chain_grad", dout.dtype(), [&]<class T>(Type<T>) {
    Backward(Chain<T>(args), dout.data<T>(), kept.defined() ? kept.data<T>() : nullptr, dweights.data<T>(),
             dvalues.data<T>());
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(ChordChain);
HWY_EXPORT(ChordChainGrad);

void cpu::chord_chain(const ChainArguments& chain, Tensor& kept, Tensor& out) {
  SUBQUAD_DISPATCH(ChordChain)(chain, kept, out);
}

void cpu::chord_chain_grad(const ChainArguments& chain, const Tensor& dout, const Tensor& kept, Tensor& dweights,
                           Tensor& dvalues) {
  SUBQUAD_DISPATCH(ChordChainGrad)(chain, dout, kept, dweights, dvalues);
}

}  // namespace subquad::kernels
#endif  // HWY_ONCE
