#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/score_heads/cpu.cpp"
#include "subquad/kernels/score_heads/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "subquad/kernels/simd/erf-inl.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/tile-inl.h"

// A task is one head of one sample, 64 positions at a time. Lanes are hidden values (or, for dfeature, channels): the
// products are of skinny matrices whose right factor, a head's w1, is copied into rows of whole vectors once.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kBlock = 64;  // positions whose hidden values stand in the first-level cache

template <class T>
using Lanes = hn::ScalableTag<T>;
template <class T>
inline constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Lanes<T>()));

// A zeroed matrix whose rows are padded to whole vectors.
template <class T>
class Padded {
 public:
  Padded(Index rows, Index columns)
      : row_((columns + kLanes<T> - 1) / kLanes<T> * kLanes<T>),
        memory_(zeros({rows * row_}, dtype_of<T>(), kCpu, "score_heads")),
        data_(memory_.data<T>()) {}

  T* Row(Index r) const { return data_ + r * row_; }
  Index row() const { return row_; }
  void CopyFrom(const T* from, Index rows, Index columns, Index row, Index column) {
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < columns; ++c) Row(r)[c] = from[r * row + c * column];
  }

 private:
  Index row_;
  Tensor memory_;
  T* data_;
};

// out (+)= a b for all columns of b
template <bool kAdd, class T>
void Multiply(Index rows, Left<T> a, const Padded<T>& b, Index depth, const Padded<T>& out) {
  const Lanes<T> d;
  Index c = 0;
  for (; c + 2 * kLanes<T> <= b.row(); c += 2 * kLanes<T>)
    Product<2, kAdd>(d, rows, a, Panel<const T>{b.Row(0) + c, b.row()}, depth, Panel<T>{out.Row(0) + c, out.row()});
  if (c < b.row())
    Product<1, kAdd>(d, rows, a, Panel<const T>{b.Row(0) + c, b.row()}, depth, Panel<T>{out.Row(0) + c, out.row()});
}

// One head's sizes and parameters.
template <class T>
struct Head {
  Head(const ScoreHeads& heads, Index h)
      : channels(heads.u.dim(1)),
        hidden(heads.b1.dim(1)),
        w1(channels, hidden),
        b1(1, hidden),
        w2(1, hidden),
        u(1, channels) {
    w1.CopyFrom(heads.w1.data<T>() + h * channels * hidden, channels, hidden, hidden, 1);
    b1.CopyFrom(heads.b1.data<T>() + h * hidden, 1, hidden, 0, 1);
    w2.CopyFrom(heads.w2.data<T>() + h * hidden, 1, hidden, 0, 1);
    u.CopyFrom(heads.u.data<T>() + h * channels, 1, channels, 0, 1);
  }
  Index channels, hidden;
  Padded<T> w1, b1, w2, u;
};

template <class T>
void Scores(const Head<T>& head, Index positions, Index width, const T* feature, T* score) {
  const Lanes<T> d;
  Padded<T> z(kBlock, head.hidden);
  for (Index first = 0; first < positions; first += kBlock) {
    const Index count = std::min(kBlock, positions - first);
    const T* rows = feature + first * width;
    Multiply<false>(count, Left<T>{rows, width, 1}, head.w1, head.channels, z);
    for (Index n = 0; n < count; ++n) {
      auto sum = hn::Zero(d);
      for (Index m = 0; m < z.row(); m += kLanes<T>)  // beyond the last hidden value w2 is 0
        sum = hn::MulAdd(hn::Load(d, head.w2.Row(0) + m),
                         Gelu(d, hn::Add(hn::Load(d, z.Row(n) + m), hn::Load(d, head.b1.Row(0) + m))), sum);
      ForVectors(d, head.channels, [&](Index r, auto lanes) HWY_ATTR {
        sum = hn::MulAdd(hn::Load(d, head.u.Row(0) + r), lanes.Load(rows + n * width + r), sum);
      });
      score[first + n] = SumLanes(d, sum);
    }
  }
}

// Sums over the positions of one sample.
template <class T>
struct HeadSums {
  HeadSums(Index channels, Index hidden) : w1(channels, hidden), b1(1, hidden), w2(1, hidden), u(1, channels) {}
  Padded<T> w1, b1, w2, u;
};

template <class T>
HWY_INLINE void Accumulate(hn::Vec<Lanes<T>> v, T* sum) {
  const Lanes<T> d;
  hn::Store(hn::Add(hn::Load(d, sum), v), d, sum);
}

// Turns the hidden values of a block into their gradients; db1 and dw2 of the block are added to the sums.
template <class T>
void HiddenGrads(const Head<T>& head, Index count, const T* dscore, const Padded<T>& z, HeadSums<T>& sums) {
  const Lanes<T> d;
  for (Index m = 0; m < z.row(); m += kLanes<T>) {
    const auto b1 = hn::Load(d, head.b1.Row(0) + m), w2 = hn::Load(d, head.w2.Row(0) + m);
    auto db1 = hn::Zero(d), dw2 = hn::Zero(d);
    for (Index n = 0; n < count; ++n) {
      const auto up = hn::Set(d, dscore[n]), value = hn::Add(hn::Load(d, z.Row(n) + m), b1);
      const auto dz = hn::Mul(hn::Mul(up, w2), GeluSlope(d, value));
      dw2 = hn::MulAdd(up, Gelu(d, value), dw2);
      db1 = hn::Add(db1, dz);
      hn::Store(dz, d, z.Row(n) + m);
    }
    Accumulate(db1, sums.b1.Row(0) + m);
    Accumulate(dw2, sums.w2.Row(0) + m);
  }
}

template <class T>
void ScoreGrads(const Head<T>& head, Index positions, Index width, const T* dscore, const T* feature, T* dfeature,
                HeadSums<T>& sums) {
  const Lanes<T> d;
  const Index channels = head.channels;
  Padded<T> z(kBlock, head.hidden), df(kBlock, channels), dw1(channels, head.hidden), w1_across(head.hidden, channels);
  w1_across.CopyFrom(head.w1.Row(0), head.hidden, channels, 1, head.w1.row());
  for (Index first = 0; first < positions; first += kBlock) {
    const Index count = std::min(kBlock, positions - first);
    const T *rows = feature + first * width, *up = dscore + first;
    Multiply<false>(count, Left<T>{rows, width, 1}, head.w1, channels, z);
    HiddenGrads(head, count, up, z, sums);
    Multiply<false>(channels, Left<T>{rows, 1, width}, z, count, dw1);
    for (Index i = 0; i < channels * dw1.row(); i += kLanes<T>)
      Accumulate(hn::Load(d, dw1.Row(0) + i), sums.w1.Row(0) + i);
    Multiply<false>(count, Left<T>{z.Row(0), z.row(), 1}, w1_across, head.hidden, df);
    ForVectors(d, channels, [&](Index r, auto lanes) HWY_ATTR {
      const auto u = hn::Load(d, head.u.Row(0) + r);
      auto du = hn::Zero(d);
      for (Index n = 0; n < count; ++n) {
        const auto ds = hn::Set(d, up[n]);
        lanes.Store(hn::MulAdd(ds, u, hn::Load(d, df.Row(n) + r)), dfeature + (first + n) * width + r);
        du = hn::MulAdd(ds, lanes.Load(rows + n * width + r), du);
      }
      Accumulate(du, sums.u.Row(0) + r);
    });
  }
}

// out[h] = the sums of all samples, in their order
template <class T>
void AddSamples(const std::vector<HeadSums<T>>& sums, Padded<T> HeadSums<T>::*part, Index heads, Index rows,
                Index columns, T* out) {
  std::fill_n(out, heads * rows * columns, T(0));
  for (std::size_t task = 0; task < sums.size(); ++task) {
    T* to = out + static_cast<Index>(task) % heads * rows * columns;
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < columns; ++c) to[r * columns + c] += (sums[task].*part).Row(r)[c];
  }
}

Index Work(const Tensor& feature, const ScoreHeads& heads) {  // of one head of one sample
  return feature.dim(1) * (heads.u.dim(1) + 10) * heads.b1.dim(1) / 4;
}

}  // namespace

void ScoreHeadsTensors(const Tensor& feature, const ScoreHeads& heads, Tensor& score) {
  const Index count = heads.u.dim(0), positions = feature.dim(1), width = feature.dim(2);
  visit_float("score_heads", feature.dtype(), [&]<class T>(Type<T>) {
    parallel_for(feature.dim(0) * count, Work(feature, heads), [&](Index task) HWY_ATTR {
      const Head<T> head(heads, task % count);
      Scores(head, positions, width,
             feature.data<T>() + task / count * positions * width + task % count * head.channels,
             score.data<T>() + task * positions);
    });
  });
}

void ScoreHeadsGradTensors(const Tensor& dscore, const Tensor& feature, const ScoreHeads& heads,
                           ScoreHeadsGrads& grads) {
  const Index count = heads.u.dim(0), channels = heads.u.dim(1), hidden = heads.b1.dim(1);
  const Index positions = feature.dim(1), width = feature.dim(2), tasks = feature.dim(0) * count;
  visit_float("score_heads_grad", feature.dtype(), [&]<class T>(Type<T>) {
    std::vector<HeadSums<T>> sums;
    for (Index task = 0; task < tasks; ++task) sums.emplace_back(channels, hidden);
    parallel_for(tasks, 3 * Work(feature, heads), [&](Index task) HWY_ATTR {
      const Index at = task / count * positions * width + task % count * channels;
      ScoreGrads(Head<T>(heads, task % count), positions, width, dscore.data<T>() + task * positions,
                 feature.data<T>() + at, grads.dfeature.data<T>() + at, sums[static_cast<std::size_t>(task)]);
    });
    AddSamples(sums, &HeadSums<T>::u, count, 1, channels, grads.dheads.u.data<T>());
    AddSamples(sums, &HeadSums<T>::w1, count, channels, hidden, grads.dheads.w1.data<T>());
    AddSamples(sums, &HeadSums<T>::b1, count, 1, hidden, grads.dheads.b1.data<T>());
    AddSamples(sums, &HeadSums<T>::w2, count, 1, hidden, grads.dheads.w2.data<T>());
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(ScoreHeadsTensors);
HWY_EXPORT(ScoreHeadsGradTensors);

void cpu::score_heads(const Tensor& feature, const ScoreHeads& heads, Tensor& score) {
  SUBQUAD_DISPATCH(ScoreHeadsTensors)(feature, heads, score);
}

void cpu::score_heads_grad(const Tensor& dscore, const Tensor& feature, const ScoreHeads& heads,
                           ScoreHeadsGrads& grads) {
  SUBQUAD_DISPATCH(ScoreHeadsGradTensors)(dscore, feature, heads, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
