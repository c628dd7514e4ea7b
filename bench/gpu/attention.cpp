// Fused softmax attention, forward and backward apart.
#include <algorithm>
#include <memory>

#include "subquad/bench/gpu/case.h"
#include "subquad/kernels/attention/attention.h"

namespace subquad::bench::gpu {

namespace {

using kernels::AttentionGrads;
using kernels::AttentionOptions;
using kernels::AttentionOutput;

struct Size {
  Index batch, heads, n, width;

  double pairs() const { return static_cast<double>(batch * heads) * static_cast<double>(n) * static_cast<double>(n); }
  double tensor_bytes() const { return 4.0 * static_cast<double>(batch * heads * n * width); }
};

struct Set {
  Tensor q, k, v, dout;
  AttentionOutput forward;
  AttentionGrads grads;

  // [B, H, N, E], laid out as a projection leaves them
  Set(Device device, const Size& s, std::uint64_t seed) {
    std::uint64_t stream = 0;
    for (Tensor* t : {&q, &k, &v, &dout})
      *t = normal({s.batch, s.n, s.heads, s.width}, device, seed, ++stream).transpose(1, 2);
  }
};

// Of the last head of the last sample: `count` positions from its middle, in float64 on the CPU.
Tensor part(const Tensor& t, Index count) {
  const Index n = t.dim(2), from = (n - count) / 2;
  const Tensor head = t.slice(0, t.dim(0) - 1, t.dim(0)).slice(1, t.dim(1) - 1, t.dim(1));
  return doubles(head.slice(2, from, from + count));
}

AttentionOutput part(const AttentionOutput& f, Index count) {
  return {part(f.out, count), part(f.lse, count), part(f.lse_rest, count)};
}

// Out of a few queries over all keys.
double forward_error(const Set& s) {
  const Index n = s.q.dim(2), few = std::min<Index>(n, 32);
  const AttentionOutput want = kernels::attention(part(s.q, few), part(s.k, n), part(s.v, n));
  return std::max(error_of(part(s.forward.out, few), want.out), error_of(part(s.forward.lse, few), want.lse));
}

// dq of a few queries over all keys; dk and dv of a few keys over all queries.
double backward_error(const Set& s) {
  const Index n = s.q.dim(2), few = std::min<Index>(n, 32);
  const Tensor q = part(s.q, n), k = part(s.k, n), v = part(s.v, n), dout = part(s.dout, n);
  const AttentionOutput exact = kernels::attention(q, k, v);
  const AttentionGrads rows = kernels::attention_grad(part(dout, few), {}, part(q, few), k, v, part(exact, few));
  const AttentionGrads columns = kernels::attention_grad(dout, {}, q, part(k, few), part(v, few), exact);
  return std::max({error_of(part(s.grads.dq, few), rows.dq), error_of(part(s.grads.dk, few), columns.dk),
                   error_of(part(s.grads.dv, few), columns.dv)});
}

std::map<std::string, Tensor> tensors(const Set& s) {
  std::map<std::string, Tensor> named = {
      {"q", s.q}, {"k", s.k}, {"v", s.v}, {"dout", s.dout}, {"out", s.forward.out}, {"lse", s.forward.lse}};
  if (s.grads.dq.defined()) named.insert({{"dq", s.grads.dq}, {"dk", s.grads.dk}, {"dv", s.grads.dv}});
  return named;
}

Case forward(Device device, const Size& size, Precision precision) {
  const auto prepare = [=](std::uint64_t seed) {
    const auto set = std::make_shared<Set>(device, size, seed);
    return Prepared{[=] {
                      const PrecisionGuard guard(precision);
                      set->forward = kernels::attention(set->q, set->k, set->v);
                    },
                    [=] { return forward_error(*set); }, [=] { return tensors(*set); }};
  };
  return {.op = "attention_forward",
          .shape = {{"batch", size.batch}, {"heads", size.heads}, {"n", size.n}, {"width", size.width}},
          .precision = precision,
          .flops = 4 * size.pairs() * static_cast<double>(size.width),
          .bytes = 4 * size.tensor_bytes(),
          .tolerance = tolerance_of(precision, size.width),
          .prepare = prepare};
}

Case backward(Device device, const Size& size, Precision precision) {
  Case c = forward(device, size, precision);
  c.op = "attention_backward";
  c.flops *= 2.5;
  c.bytes *= 2;
  c.tolerance *= 4;  // dk and dv add up what every query's rounding left
  c.prepare = [=](std::uint64_t seed) {
    const auto set = std::make_shared<Set>(device, size, seed);
    const PrecisionGuard guard(precision);
    set->forward = kernels::attention(set->q, set->k, set->v);
    return Prepared{[=] {
                      const PrecisionGuard inner(precision);
                      set->grads = kernels::attention_grad(set->dout, {}, set->q, set->k, set->v, set->forward);
                    },
                    [=] { return backward_error(*set); }, [=] { return tensors(*set); }};
  };
  return c;
}

}  // namespace

std::vector<Case> attention_cases(Device device, bool tiny) {
  std::vector<Size> sizes;
  if (tiny)
    sizes = {{1, 2, 70, 32}};
  else
    for (const Index width : {32, 64})
      for (const Index n : {1024, 2048, 4096, 8192, 16384})  // as many queries in all at every length
        sizes.push_back({32 * 2048 / n, 2, n, width});
  std::vector<Case> cases;
  for (const Size& size : sizes)
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
      cases.push_back(forward(device, size, precision));
      cases.push_back(backward(device, size, precision));
    }
  return cases;
}

}  // namespace subquad::bench::gpu
