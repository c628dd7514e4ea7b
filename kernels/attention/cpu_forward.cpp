#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/attention/cpu_forward.cpp"
#include "subquad/kernels/attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/attention/online-inl.h"

// Lanes are queries. Per strip, and for 64 keys at a time:
//
//   block [64][lanes] = K Qt            logits: Qt [E][lanes] is scaled
//   block = e^(block - maximum)         the running maximum of each lane; what was summed before follows it down
//   out [Ev][lanes] += Vt block
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kNearKeys = 4096;  // that few queries read where they lie; farther ones are better read once
inline constexpr Index kRange = 1024;  // queries per task; each packs its keys, 4 % of the time at 512 (N 4096, E 32)

template <class T>
struct ForwardArguments {
  View<const T, 4> q, k, v;
  const Mask& mask;
  const AttentionOptions& options;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
};

// Queries number [begin, end) of one head.
template <class T>
void Range(const ForwardArguments<T>& args, const Seen& s, Index b, Index h, Index begin, Index end) {
  const Vector<T> d;
  const Index width = args.q.dim(3), value_width = args.v.dim(3);
  const T scale = static_cast<T>(args.options.scale);
  const auto limit_of = [&](Index a) { return s.limits[static_cast<std::size_t>(std::min(a, end - 1))]; };
  const auto keys = s.keys.first(static_cast<std::size_t>(limit_of(end)));
  const bool pack = end - begin > kFewQueries || static_cast<Index>(keys.size()) > kNearKeys;
  const KeyRows<T> k(args.k, b, h, keys, pack), v(args.v, b, h, keys, pack);
  Buffer<T> q_strip(width * kStrip<T>), out_strip(value_width * kStrip<T>), spare(std::max(width, value_width));
  spare.zero();
  HWY_ALIGN T block[kBlock * kStrip<T>], limits[kStrip<T>];
  const Panel<T> logits{block, kStrip<T>}, out{out_strip.data(), kStrip<T>};

  for (Index first = begin; first < end; first += kStrip<T>) {
    const Index count = std::min(kStrip<T>, end - first);
    const auto positions = s.queries.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    LoadStrip(StripRows<const T>(args.q, b, h, positions, spare.data()), width, scale, q_strip.data());
    for (Index lane = 0; lane < kStrip<T>; ++lane) limits[lane] = static_cast<T>(limit_of(first + lane));
    out_strip.zero();
    Online<T> online = NothingYet<T>();

    const Index last_limit = limit_of(first + count - 1);
    for (Index j = 0; j < last_limit; j += kBlock) {
      const Index rows = std::min(kBlock, last_limit - j);
      Product<2, false>(d, rows, k.from(j), Panel<const T>{q_strip.data(), kStrip<T>}, width, logits);
      if (limit_of(first) < j + rows) HideKeys(block, j, rows, limits);
      Weigh(block, rows, online, out.data, value_width);
      Product<2, true>(d, value_width, v.turned_from(j), Panel<const T>{block, kStrip<T>}, rows, out);
    }

    const StripSums<T> sums(online);
    StoreStrip(out.data, sums.share, value_width, StripRows<T>(args.out, b, h, positions, spare.data()));
    std::fill_n(spare.data(), value_width, T(0));
    sums.for_lse(positions.size(), [&](std::size_t lane, T lse, T rest) {
      args.lse(b, h, positions[lane]) = lse;
      args.lse_rest(b, h, positions[lane]) = rest;
    });
  }
}

template <class T>
void Forward(const ForwardArguments<T>& args) {
  const Index query_count = args.q.dim(2), key_count = args.k.dim(2), heads = args.q.dim(1);
  const Index ranges = std::max<Index>(1, (query_count + kRange - 1) / kRange);
  const Index work = std::min(query_count, kRange) * key_count * (args.q.dim(3) + args.v.dim(3)) / 8;
  // Once per sample, not per task: the lists are as long as the sequence, and there are N / kRange tasks.
  std::vector<Seen> samples(static_cast<std::size_t>(args.q.dim(0)));
  parallel_for(args.q.dim(0), key_count + 2 * query_count, [&](Index b) {
    samples[static_cast<std::size_t>(b)] = seen(args.mask, b, query_count, key_count, args.options);
  });
  parallel_for(args.q.dim(0) * heads * ranges, work, [&](Index task) {
    const Index b = task / ranges / heads, h = task / ranges % heads, begin = task % ranges * kRange;
    const Seen& s = samples[static_cast<std::size_t>(b)];
    const Index end = std::min(static_cast<Index>(s.queries.size()), begin + kRange);
    if (begin == 0) {
      ZeroOthers(s.queries, args.out, b, h);
      ForOthers(s.queries, query_count, [&](Index i) {
        args.lse(b, h, i) = -std::numeric_limits<T>::infinity();
        args.lse_rest(b, h, i) = 0;
      });
    }
    if (begin < end) Range(args, s, b, h, begin, end);
  });
}

}  // namespace

void Attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, const AttentionOptions& options,
               AttentionOutput& result) {
  visit_float("attention", q.dtype(), [&]<class T>(Type<T>) {
    Forward<T>({q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(), keys, options,
                result.out.view<T, 4>(), result.lse.view<T, 3>(), result.lse_rest.view<T, 3>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(Attention);

void cpu::attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                    const AttentionOptions& options, AttentionOutput& result) {
  SUBQUAD_DISPATCH(Attention)(q, k, v, keys, options, result);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
