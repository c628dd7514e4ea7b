#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/factor_mlp/cpu.cpp"
#include "subquad/kernels/factor_mlp/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/parallel.h"
#include "subquad/kernels/factor_mlp/strip-inl.h"
#include "subquad/kernels/reduce/reduce.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

struct Sizes {
  Index factors, batch, positions, inputs, hidden, outputs;

  Sizes(const Tensor& x, const FactorMlp& mlp)
      : factors(mlp.first.dim(0)),
        batch(x.dim(0)),
        positions(x.dim(1)),
        inputs(x.dim(2)),
        hidden(mlp.first.dim(2)),
        outputs(mlp.second.dim(2)) {}

  Index strips() const { return Strip::number_of(batch, positions); }
  Index strip_work() const { return kStripRows * factors * hidden * (inputs + outputs + 16) / 8; }
  Index sample(Index m, Index b) const { return (m * batch + b) * positions * outputs; }  // where out[m, b] starts
};

template <class T>
void Forward(const Sizes& s, const Tensor& x, const FactorMlp& mlp, const Mask& mask, T* out) {
  const Panels<T> first(mlp.first), first_bias(mlp.first_bias.unsqueeze(1));
  const Panels<T> second(mlp.second), second_bias(mlp.second_bias.unsqueeze(1));
  const T* rows = x.data<T>();
  parallel_for(s.strips(), s.strip_work(), [&](Index number) HWY_ATTR {
    const Strip strip(number, mask, s.positions);
    const Rows<T> copy(strip.count, s.inputs), hidden(strip.count, s.hidden);
    const T* sample = rows + strip.sample * s.positions * s.inputs;
    const Left<T> in = LeftRows(strip, sample, s.inputs, copy);
    const Left<T> activated{hidden.data(), hidden.stride(), 1};
    for (Index m = 0; m < s.factors; ++m) {
      Multiply(strip.count, in, first.of(m), s.inputs, FromBias<T>{first_bias.of(m).data}, Whole<T>{hidden.panel()});
      PrefetchNext(strip, sample, s.inputs, m, s.factors);
      Activate(hidden);
      T* to = out + s.sample(m, strip.sample);
      ZeroPadding(strip, to, s.outputs);
      Multiply(strip.count, activated, second.of(m), s.hidden, FromBias<T>{second_bias.of(m).data},
               Narrow<T>{to, strip.position, s.outputs});
    }
  });
}

// Row k of the result is column k of the rows.
template <class T>
Left<T> Transposed(Left<T> rows) {
  return {rows.data, rows.step, rows.row};
}

// The strip's rows of matrix [positions, width]; padding becomes 0.
template <class T>
HWY_INLINE void WriteRows(const Strip& strip, const Rows<T>& rows, T* matrix, Index width) {
  ZeroPadding(strip, matrix, width);
  for (Index r = 0; r < strip.count; ++r) std::copy_n(rows.row(r), width, matrix + strip.position[r] * width);
}

// Gradients of one perceptron's parameters, side by side: dA [I][H], da [H], dC transposed [O][H], dc [O], every row
// whole vectors.
template <class T>
struct GradLayout {
  Index inputs, outputs, hidden_row, output_row;

  explicit GradLayout(const Sizes& s)
      : inputs(s.inputs),
        outputs(s.outputs),
        hidden_row(WholeVectors<T>(s.hidden)),
        output_row(WholeVectors<T>(s.outputs)) {}

  Index first_bias() const { return inputs * hidden_row; }
  Index second() const { return first_bias() + hidden_row; }
  Index second_bias() const { return second() + outputs * hidden_row; }
  Index size() const { return second_bias() + output_row; }

  // all: [M, size()]
  FactorMlp unpack(const Tensor& all, const Sizes& s) const {
    const auto part = [&](Index begin, Index rows, Index row, Index width) {
      const Tensor block = all.slice(1, begin, begin + rows * row).reshape({s.factors, rows, row});
      return block.slice(2, 0, width);
    };
    return {part(0, inputs, hidden_row, s.hidden).contiguous(),
            part(first_bias(), 1, hidden_row, s.hidden).squeeze(1).contiguous(),
            part(second(), outputs, hidden_row, s.hidden).transpose(1, 2).contiguous(),
            part(second_bias(), 1, output_row, outputs).squeeze(1).contiguous()};
  }
};

// sum[:] += the sum of all rows: of every fourth one in order, then of those four sums.
template <class T>
HWY_INLINE void AddRows(Index count, Left<T> rows, Index width, T* sum) {
  ForVectors(Vector<T>(), width, [&](Index c, auto lanes) HWY_ATTR {
    hn::Vec<Vector<T>> chain[4] = {lanes.Load(sum + c), hn::Zero(Vector<T>()), hn::Zero(Vector<T>()),
                                   hn::Zero(Vector<T>())};
    const T* from = rows.data + c;
    Index r = 0;
    for (; r + 4 <= count; r += 4)
      for (Index i = 0; i < 4; ++i) chain[i] = hn::Add(chain[i], lanes.Load(from + (r + i) * rows.row));
    for (; r < count; ++r) chain[r % 4] = hn::Add(chain[r % 4], lanes.Load(from + r * rows.row));
    lanes.Store(hn::Add(hn::Add(chain[0], chain[1]), hn::Add(chain[2], chain[3])), sum + c);
  });
}

template <class T>
struct BackwardArguments {
  const Sizes& s;
  const Mask& mask;
  const T *x, *dout;
  T* dx;                              // null when nobody wants it
  Panels<T> first, first_bias;        // A, a
  Panels<T> first_back, second_back;  // A and C transposed
  GradLayout<T> layout;
};

// One strip's share of all gradients; those of the parameters are added to `grads` [M, layout.size()].
template <class T>
void StripBackward(const BackwardArguments<T>& args, Index number, T* grads) {
  const Sizes& s = args.s;
  const Strip strip(number, args.mask, s.positions);
  const Index count = strip.count;
  const Rows<T> in_copy(count, s.inputs), up_copy(count, s.outputs), hidden(count, s.hidden), dhidden(count, s.hidden);
  const Rows<T> down(count, s.inputs);
  const Whole<T> dx{down.panel()};
  std::fill_n(down.data(), count * down.stride(), T(0));
  const Index sample = strip.sample * s.positions * s.inputs;
  const Left<T> in = LeftRows(strip, args.x + sample, s.inputs, in_copy);
  const Left<T> dz{dhidden.data(), dhidden.stride(), 1};
  for (Index m = 0; m < s.factors; ++m) {
    const Left<T> up = LeftRows(strip, args.dout + s.sample(m, strip.sample), s.outputs, up_copy);
    Multiply(count, in, args.first.of(m), s.inputs, FromBias<T>{args.first_bias.of(m).data}, Whole<T>{hidden.panel()});
    Multiply(count, up, args.second_back.of(m), s.outputs, FromZero<T>(), Whole<T>{dhidden.panel()});
    ActivateBack(hidden, dhidden);
    T* to = grads + m * args.layout.size();
    const Whole<T> dfirst{{to, dz.row}}, dsecond{{to + args.layout.second(), hidden.stride()}};
    if (m + 1 < s.factors)
      Prefetch(args.dout + s.sample(m + 1, strip.sample) + strip.begin * s.outputs,
               (strip.end - strip.begin) * s.outputs);
    PrefetchNext(strip, args.x + sample, s.inputs, m, s.factors);
    Multiply(s.inputs, Transposed(in), dhidden.read(), count, dfirst, dfirst);
    AddRows(count, dz, dz.row, to + args.layout.first_bias());
    Multiply(s.outputs, Transposed(up), hidden.read(), count, dsecond, dsecond);
    AddRows(count, up, s.outputs, to + args.layout.second_bias());
    if (args.dx != nullptr) Multiply(count, dz, args.first_back.of(m), s.hidden, dx, dx);
  }
  if (args.dx != nullptr) WriteRows(strip, down, args.dx + sample, s.inputs);
}

// Chunks of strips that have a set of gradients each: cut by shape, so that threads do not matter.
Index Chunks(Index strips, std::size_t bytes_per_set) {
  constexpr Index kMost = 64, kFewestStrips = 512 / kStripRows;
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  const Index affordable = static_cast<Index>(kBytes / std::max<std::size_t>(bytes_per_set, 1));
  return std::max<Index>(1, std::min({kMost, strips / kFewestStrips, affordable}));
}

template <class T>
void Backward(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& dx,
              FactorMlp& grads) {
  const Sizes s(x, mlp);
  const BackwardArguments<T> args{s,
                                  mask,
                                  x.data<T>(),
                                  dout.data<T>(),
                                  dx.defined() ? dx.data<T>() : nullptr,
                                  Panels<T>(mlp.first),
                                  Panels<T>(mlp.first_bias.unsqueeze(1)),
                                  Panels<T>(mlp.first.transpose(1, 2)),
                                  Panels<T>(mlp.second.transpose(1, 2)),
                                  GradLayout<T>(s)};
  const Index strips = s.strips(), set = s.factors * args.layout.size();
  const Index chunks = Chunks(strips, static_cast<std::size_t>(set) * sizeof(T));
  Tensor partial = empty({chunks, s.factors, args.layout.size()}, dout.dtype(), dout.device());
  parallel_for(chunks, (strips / chunks + 1) * s.strip_work() * 3, [&](Index chunk) HWY_ATTR {
    T* to = partial.data<T>() + chunk * set;
    std::fill_n(to, set, T(0));
    for (Index i = chunk * strips / chunks; i < (chunk + 1) * strips / chunks; ++i) StripBackward(args, i, to);
  });
  grads = args.layout.unpack(chunks == 1 ? partial.squeeze(0) : sum(partial, {0}), s);
}

}  // namespace

void FactorMlpForward(const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& out) {
  visit_float("factor_mlp", x.dtype(), [&]<class T>(Type<T>) { Forward(Sizes(x, mlp), x, mlp, mask, out.data<T>()); });
}

void FactorMlpBackward(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& dx,
                       FactorMlp& grads) {
  visit_float("factor_mlp_grad", x.dtype(), [&]<class T>(Type<T>) { Backward<T>(dout, x, mlp, mask, dx, grads); });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(FactorMlpForward);
HWY_EXPORT(FactorMlpBackward);

void cpu::factor_mlp(const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& out) {
  SUBQUAD_DISPATCH(FactorMlpForward)(x, mlp, mask, out);
}

void cpu::factor_mlp_grad(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& dx,
                          FactorMlp& grads) {
  SUBQUAD_DISPATCH(FactorMlpBackward)(dout, x, mlp, mask, dx, grads);
}

}  // namespace subquad::kernels
#endif  // HWY_ONCE
