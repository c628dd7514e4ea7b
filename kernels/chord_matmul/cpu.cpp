#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/chord_matmul/cpu.cpp"
#include "subquad/kernels/chord_matmul/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/parallel.h"
#include "subquad/kernels/chord_matmul/rows-inl.h"

// A chain runs sample by sample, so that the values of one factor are still in L2 when the next one reads them. Many
// samples go to the threads whole; of a few, each factor's rows do. Either way a row is computed alone, to the same
// bits.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kManySamples = 8;
inline constexpr Index kRows = 64;  // rows to a task

template <class T>
struct Chain {
  const cpu::ChainArguments& args;
  View<const T, 4> weights;  // [M, B, N, L]
  View<const T, 3> values;   // [B, N, D]
  Index factors, batch, positions, links, width;
  std::vector<Links> mirrors;
  std::vector<T> zeros;  // the row of a link that drops out

  explicit Chain(const cpu::ChainArguments& a)
      : args(a),
        weights(a.weights.view<const T, 4>()),
        values(a.values.view<const T, 3>()),
        factors(a.weights.dim(0)),
        batch(a.values.dim(0)),
        positions(a.values.dim(1)),
        links(a.weights.dim(3)),
        width(a.values.dim(2)),
        zeros(static_cast<std::size_t>(width)) {
    for (const Links& factor : a.links) mirrors.push_back(mirrored(factor));
  }

  const Links& pattern(Index m) const { return args.links[static_cast<std::size_t>(m)]; }
  const Links& mirror(Index m) const { return mirrors[static_cast<std::size_t>(m)]; }
  Index length(Index b) const { return args.mask.defined() ? args.mask.lengths.data<Index>()[b] : positions; }

  const T* weights_of(Index m, Index b) const { return weights.data() + m * weights.stride(0) + b * weights.stride(1); }
  const T* values_of(Index b) const { return values.data() + b * positions * width; }
  // V_m of a sample among what the forward keeps; m = 1 ... M - 1
  Index kept_at(Index m, Index b) const { return ((m - 1) * batch + b) * positions * width; }

  const T* row_of(const T* matrix, Index column) const { return column < 0 ? zeros.data() : matrix + column * width; }

  template <class F>
  void for_samples(const F& f) const {
    if (batch < kManySamples) {
      for (Index b = 0; b < batch; ++b) f(b);
    } else {
      parallel_for(batch, factors * positions * links * width / 8, f);
    }
  }

  template <class F>
  void for_rows(Index rows, Index work, const F& f) const {
    parallel_chunks(rows, kRows, links * width * work / 8, f);
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
HWY_INLINE void ZeroRows(T* matrix, Index begin, Index end, Index width) {
  std::fill(matrix + begin * width, matrix + end * width, T(0));
}

// Rows [begin, end) of W_m times `from`, plus those of `start`.
template <class T>
void ForwardRows(const Chain<T>& chain, Index m, Index b, Index n, const T* from, const T* start, T* to, Index begin,
                 Index end) {
  const hn::ScalableTag<T> d;
  Columns columns(chain.pattern(m), begin, n);
  std::vector<const T*> rows(static_cast<std::size_t>(chain.links));
  const T* weights = chain.weights_of(m, b);
  for (Index i = begin; i < end; ++i, columns.next_row()) {
    for (std::size_t k = 0; k < rows.size(); ++k) rows[k] = chain.row_of(from, columns.data()[k]);
    WeighRows(d, chain.links, weights + i * chain.links, rows.data(),
              start != nullptr ? start + i * chain.width : start, chain.width, to + i * chain.width);
  }
}

template <class T>
void Forward(const Chain<T>& chain, T* kept, T* out) {
  const Index size = chain.positions * chain.width;
  chain.for_samples([&](Index b) HWY_ATTR {
    const Index n = chain.length(b);
    const Buffer<T> spare(kept == nullptr && chain.factors > 1 ? n * chain.width : 0);
    const T* from = chain.values_of(b);
    for (Index m = 0; m < chain.factors; ++m) {
      // Without `kept` two buffers take turns, so that the last factor writes to `out`.
      T* to = out + b * size;
      if (m + 1 < chain.factors && kept != nullptr)
        to = kept + chain.kept_at(m + 1, b);
      else if ((chain.factors - m) % 2 == 0)
        to = spare.data();
      const T* start = chain.args.residual == MixResidual::running ? from : nullptr;
      if (chain.args.residual == MixResidual::fixed) start = chain.values_of(b);
      chain.for_rows(
          n, 1, [&](Index begin, Index end) HWY_ATTR { ForwardRows(chain, m, b, n, from, start, to, begin, end); });
      if (to != spare.data()) ZeroRows(to, n, chain.positions, chain.width);
      from = to;
    }
  });
}

// Where a sample stands on its way back through factor m.
template <class T>
struct Step {
  Index m, b, n;
  const T* up;    // gradient of V_m
  const T* from;  // V_{m-1}
  const T* start;
  T* to;     // gradient of V_{m-1}, `start` included
  T* total;  // fixed residual: the sum of the gradients of V_1 ... V_M; else null
  T* dweights;
};

template <class T>
void BackwardRows(const Chain<T>& chain, const Step<T>& step, Index begin, Index end) {
  const hn::ScalableTag<T> d;
  const Index links = chain.links, width = chain.width;
  Columns columns(chain.pattern(step.m), begin, step.n), readers(chain.mirror(step.m), begin, step.n);
  std::vector<const T*> rows(static_cast<std::size_t>(links + kPerBlock<T>), chain.zeros.data());
  std::vector<T> dots(rows.size()), reading(static_cast<std::size_t>(links));
  const T* weights = chain.weights_of(step.m, step.b);
  for (Index i = begin; i < end; ++i, columns.next_row(), readers.next_row()) {
    const T* up = step.up + i * width;
    for (Index k = 0; k < links; ++k) rows[static_cast<std::size_t>(k)] = chain.row_of(step.from, columns.data()[k]);
    for (Index k = 0; k < links; k += kPerBlock<T>) DotGroup(d, up, rows.data() + k, width, dots.data() + k);
    std::copy_n(dots.data(), links, step.dweights + i * links);

    for (Index k = 0; k < links; ++k) {
      const Index reader = readers.data()[k];
      rows[static_cast<std::size_t>(k)] = chain.row_of(step.up, reader);
      reading[static_cast<std::size_t>(k)] = reader < 0 ? T(0) : weights[reader * links + k];
    }
    if (step.total != nullptr)
      for (Index c = 0; c < width; ++c) step.total[i * width + c] += up[c];
    WeighRows(d, links, reading.data(), rows.data(), step.start != nullptr ? step.start + i * width : nullptr, width,
              step.to + i * width);
  }
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
    T* total = residual == MixResidual::fixed ? last : nullptr;
    if (total != nullptr) ZeroRows(total, 0, n, chain.width);
    const T* up = dout + b * size;
    for (Index m = chain.factors - 1; m >= 0; --m) {
      const T* from = m > 0 ? kept + chain.kept_at(m, b) : chain.values_of(b);
      const T* start = residual == MixResidual::running ? up : nullptr;
      if (m == 0 && total != nullptr) start = total;
      T* to = m > 0 ? buffers[(chain.factors - 1 - m) % 2].data() : last;
      const Step<T> step{m, b, n, up, from, start, to, total, dweights + (m * chain.batch + b) * weight_size};
      chain.for_rows(n, 2, [&](Index begin, Index end) HWY_ATTR { BackwardRows(chain, step, begin, end); });
      ZeroRows(step.dweights, n, chain.positions, chain.links);
      up = to;
    }
    ZeroRows(last, n, chain.positions, chain.width);
  });
}

}  // namespace

void ChordChain(const cpu::ChainArguments& args, Tensor& kept, Tensor& out) {
  visit_float("chord_chain", out.dtype(), [&]<class T>(Type<T>) {
    Forward(Chain<T>(args), kept.defined() ? kept.data<T>() : nullptr, out.data<T>());
  });
}

void ChordChainGrad(const cpu::ChainArguments& args, const Tensor& dout, const Tensor& kept, Tensor& dweights,
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
