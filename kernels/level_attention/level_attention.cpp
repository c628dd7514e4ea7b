#include "subquad/kernels/level_attention/level_attention.h"

#include <bit>

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/level_attention/cpu.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask) {
  check_heads(op, q, k, v, mask, 0);
  check_shape(op, "k", k, q.shape());
  if (!q.device().is_cpu()) throw DeviceError(cat(op, ": q is ", describe(q), ", expected a tensor on the CPU"));
}

// Of a token and a level of summaries, and of a token and an entry.
Flops work(const Tensor& q, const Tensor& v, bool causal) {
  const auto n = static_cast<std::uint64_t>(q.dim(2));
  const double levels = n < 2 ? 0 : std::bit_width(n - 1), summaries = levels < 1 ? 0 : levels - 1;
  const double pairs = 1 + (causal ? levels / 2 : levels) + summaries;
  return {2 * static_cast<double>(q.dim(0) * q.dim(1) * q.dim(2)) * pairs * static_cast<double>(q.dim(3) + v.dim(3))};
}

}  // namespace

LevelAttentionOutput level_attention(const Tensor& q, const Tensor& k, const Tensor& v, bool causal, const Mask& mask) {
  constexpr const char* kOp = "level_attention";
  check_inputs(kOp, q, k, v, mask);
  LevelAttentionOutput result{empty_heads(kOp, q, v.dim(3)), empty(q.shape().without(3), q.dtype(), kCpu, kOp),
                              empty(cpu::level_summaries(q, v), q.dtype(), kCpu, kOp)};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  on_device(
      q.device(), [&](auto) { cpu::level_attention(q_rows, k_rows, v_rows, causal, mask, result); }, [](auto) {},
      work(q, v, causal));
  return result;
}

LevelAttentionGrads level_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                         const Tensor& v, const Tensor& summaries, bool causal, const Mask& mask) {
  constexpr const char* kOp = "level_attention_grad";
  check_inputs(kOp, q, k, v, mask);
  check_shape(kOp, "dout", dout, v.shape());
  check_same_kind(kOp, "q", q, "dout", dout);
  check_shape(kOp, "summaries", summaries, cpu::level_summaries(q, v));
  check_same_kind(kOp, "q", q, "summaries", summaries);
  if (dlse.defined()) {
    check_shape(kOp, "dlse", dlse, q.shape().without(3));
    check_same_kind(kOp, "q", q, "dlse", dlse);
  }
  LevelAttentionGrads grads{empty_heads(kOp, q, q.dim(3)), empty_heads(kOp, k, k.dim(3)),
                            empty_heads(kOp, v, v.dim(3))};
  const Tensor dout_rows = with_unit_stride(dout);
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  on_device(
      q.device(),
      [&](auto) { cpu::level_attention_grad(dout_rows, dlse, q_rows, k_rows, v_rows, summaries, causal, mask, grads); },
      [](auto) {}, Flops{2.5 * work(q, v, causal).count});
  return grads;
}

}  // namespace subquad::kernels
