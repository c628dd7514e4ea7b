#include "subquad/kernels/attention/cpu.h"

#include <cmath>
#include <limits>
#include <vector>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {
namespace {

// One sample without its padding: which positions hold a key, which hold a query that sees one, and how many keys each
// of these sees. Every mask comes down to this, since the keys that a query sees are always the first few real ones.
struct Seen {
  std::vector<Index> keys;     // positions of the real keys
  std::vector<Index> queries;  // positions of the queries that see at least one of them
  std::vector<Index> limit;    // queries[a] sees keys[0], ..., keys[limit[a] - 1]; never falls with a
};

Seen seen(const Mask& mask, Index sample, Index query_count, Index key_count, const AttentionOptions& options) {
  const bool* real = mask.defined() ? mask.real.data<bool>() + sample * key_count : nullptr;
  const bool skip = real != nullptr && options.skip_padded_queries && query_count == key_count;
  Seen s;
  for (Index j = 0; j < key_count; ++j)
    if (real == nullptr || real[j]) s.keys.push_back(j);
  Index limit = options.causal ? 0 : static_cast<Index>(s.keys.size());
  for (Index i = 0; i < query_count; ++i) {
    if (options.causal) {
      while (limit < static_cast<Index>(s.keys.size()) &&
             s.keys[static_cast<std::size_t>(limit)] <= i + key_count - query_count)
        ++limit;
    }
    if (limit == 0 || (skip && !real[i])) continue;
    s.queries.push_back(i);
    s.limit.push_back(limit);
  }
  return s;
}

template <class T>
T dot(const T* a, const T* b, Index count) {
  T sum = 0;
  for (Index i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

template <class T>
void axpy(T a, const T* x, T* y, Index count) {
  for (Index i = 0; i < count; ++i) y[i] += a * x[i];
}

template <class T>
void zero_rows(const View<T, 4>& x, Index b, Index h) {
  for (Index i = 0; i < x.dim(2); ++i) std::fill_n(&x(b, h, i, 0), x.dim(3), T(0));
}

template <class T>
void forward(View<const T, 4> q, View<const T, 4> k, View<const T, 4> v, const Mask& mask,
             const AttentionOptions& options, View<T, 4> out, View<T, 3> lse) {
  const Index heads = q.dim(1), width = q.dim(3), value_width = v.dim(3);
  parallel_for(q.dim(0) * heads, q.dim(2) * k.dim(2) * (width + value_width), [&](Index task) {
    const Index b = task / heads, h = task % heads;
    const Seen s = seen(mask, b, q.dim(2), k.dim(2), options);
    zero_rows(out, b, h);
    for (Index i = 0; i < q.dim(2); ++i) lse(b, h, i) = -std::numeric_limits<T>::infinity();
    for (std::size_t a = 0; a < s.queries.size(); ++a) {
      const Index i = s.queries[a];
      T* o = &out(b, h, i, 0);
      T top = -std::numeric_limits<T>::infinity(), sum = 0;
      for (Index m = 0; m < s.limit[a]; ++m) {
        const Index j = s.keys[static_cast<std::size_t>(m)];
        const T logit = static_cast<T>(options.scale) * dot(&q(b, h, i, 0), &k(b, h, j, 0), width);
        if (logit > top) {  // what was summed so far is relative to the old maximum
          const T shrink = std::exp(top - logit);
          for (Index c = 0; c < value_width; ++c) o[c] *= shrink;
          sum *= shrink;
          top = logit;
        }
        const T p = std::exp(logit - top);
        axpy(p, &v(b, h, j, 0), o, value_width);
        sum += p;
      }
      for (Index c = 0; c < value_width; ++c) o[c] /= sum;
      lse(b, h, i) = top + std::log(sum);
    }
  });
}

template <class T>
void backward(View<const T, 4> dout, const Tensor& dlse, View<const T, 4> q, View<const T, 4> k, View<const T, 4> v,
              View<const T, 4> out, View<const T, 3> lse, const Mask& mask, const AttentionOptions& options,
              View<T, 4> dq, View<T, 4> dk, View<T, 4> dv) {
  const Index heads = q.dim(1), width = q.dim(3), value_width = v.dim(3);
  const T scale = static_cast<T>(options.scale);
  parallel_for(q.dim(0) * heads, q.dim(2) * k.dim(2) * (3 * width + 2 * value_width), [&](Index task) {
    const Index b = task / heads, h = task % heads;
    const Seen s = seen(mask, b, q.dim(2), k.dim(2), options);
    zero_rows(dq, b, h);
    zero_rows(dk, b, h);
    zero_rows(dv, b, h);
    for (std::size_t a = 0; a < s.queries.size(); ++a) {
      const Index i = s.queries[a];
      const T* go = &dout(b, h, i, 0);
      const T delta = dot(go, &out(b, h, i, 0), value_width) - (dlse.defined() ? dlse.view<const T, 3>()(b, h, i) : 0);
      for (Index m = 0; m < s.limit[a]; ++m) {
        const Index j = s.keys[static_cast<std::size_t>(m)];
        const T p = std::exp(scale * dot(&q(b, h, i, 0), &k(b, h, j, 0), width) - lse(b, h, i));
        const T ds = p * (dot(go, &v(b, h, j, 0), value_width) - delta);
        axpy(p, go, &dv(b, h, j, 0), value_width);
        axpy(scale * ds, &q(b, h, i, 0), &dk(b, h, j, 0), width);
        axpy(scale * ds, &k(b, h, j, 0), &dq(b, h, i, 0), width);
      }
    }
  });
}

}  // namespace

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, const AttentionOptions& options,
               Tensor& out, Tensor& lse) {
  visit_float("attention", q.dtype(), [&]<class T>(Type<T>) {
    forward<T>(q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(), keys, options, out.view<T, 4>(),
               lse.view<T, 3>());
  });
}

void attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                    const Tensor& out, const Tensor& lse, const Mask& keys, const AttentionOptions& options, Tensor& dq,
                    Tensor& dk, Tensor& dv) {
  visit_float("attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    backward<T>(dout.view<const T, 4>(), dlse, q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(),
                out.view<const T, 4>(), lse.view<const T, 3>(), keys, options, dq.view<T, 4>(), dk.view<T, 4>(),
                dv.view<T, 4>());
  });
}

}  // namespace subquad::kernels::cpu
