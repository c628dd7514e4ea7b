// Profilers and error messages name the op that was called, not one of its helpers.
#include <doctest/doctest.h>
#include <simt/machine.h>

#include <functional>
#include <string>
#include <vector>

#include "subquad/core/allocator.h"
#include "subquad/kernels/adamw/adamw.h"
#include "subquad/kernels/attention/attention.h"
#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"
#include "subquad/kernels/circular/circular.h"
#include "subquad/kernels/copy/copy.h"
#include "subquad/kernels/count_correct/count_correct.h"
#include "subquad/kernels/cross_entropy/cross_entropy.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/embedding/embedding.h"
#include "subquad/kernels/fft/fft.h"
#include "subquad/kernels/grad_norm/grad_norm.h"
#include "subquad/kernels/gumbel_noise/gumbel_noise.h"
#include "subquad/kernels/hidden_cross/hidden_cross.h"
#include "subquad/kernels/increment/increment.h"
#include "subquad/kernels/layer_norm/layer_norm.h"
#include "subquad/kernels/linear/linear.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/reduce/reduce.h"
#include "subquad/kernels/sgd/sgd.h"
#include "subquad/kernels/softmax/softmax.h"

namespace subquad::kernels {
namespace {

constexpr Device kCuda{DeviceType::cuda, 0};

struct Op {
  std::string name;
  std::function<void()> call;
};

// Every public function of kernels/ that starts a kernel. Matrices are [4, 4].
std::vector<Op> every_op() {
  const Tensor x = full({4, 4}, 0.5, kFloat32, kCuda), row = full({4}, 1, kFloat32, kCuda);
  const Tensor ids = zeros({4}, kInt64, kCuda), picks = zeros({4, 4}, kInt64, kCuda);
  const Tensor one = full({1}, 1, kFloat64, kCuda), step = full({1}, 1, kInt64, kCuda);
  const Tensor condition = full({4, 4}, 1, kBool, kCuda);
  const Tensor heads = full({1, 1, 4, 4}, 0.5, kFloat32, kCuda), no_dlse;
  const RandomState random{.seed = 1, .stream = 2, .step = step, .samples = ids};
  Tensor out = zeros({4, 4}, kFloat32, kCuda), moment = zeros({4, 4}, kFloat32, kCuda),
         square_moment = zeros({4, 4}, kFloat32, kCuda), velocity = zeros({4, 4}, kFloat32, kCuda),
         count = zeros({1}, kInt64, kCuda);
  const AttentionOutput attended = attention(heads, heads, heads);
  const Tensor z = zeros({4, 4}, kComplex64, kCuda), half = zeros({4, 3}, kComplex64, kCuda);
  const Tensor rows = full({4, 4, 4}, 0.5, kFloat32, kCuda);
  return {
      {"add", [=] { add(x, x); }},
      {"sub", [=] { sub(x, x); }},
      {"mul", [=] { mul(x, x); }},
      {"div", [=] { div(x, x); }},
      {"maximum", [=] { maximum(x, x); }},
      {"minimum", [=] { minimum(x, x); }},
      {"equal", [=] { equal(x, x); }},
      {"not_equal", [=] { not_equal(x, x); }},
      {"less", [=] { less(x, x); }},
      {"less_equal", [=] { less_equal(x, x); }},
      {"greater", [=] { greater(x, x); }},
      {"greater_equal", [=] { greater_equal(x, x); }},
      {"where", [=] { where(condition, x, x); }},
      {"neg", [=] { neg(x); }},
      {"exp", [=] { exp(x); }},
      {"log", [=] { log(x); }},
      {"sqrt", [=] { sqrt(x); }},
      {"rsqrt", [=] { rsqrt(x); }},
      {"tanh", [=] { tanh(x); }},
      {"sigmoid", [=] { sigmoid(x); }},
      {"relu", [=] { relu(x); }},
      {"gelu", [=] { gelu(x); }},
      {"abs", [=] { abs(x); }},
      {"sign", [=] { sign(x); }},
      {"square", [=] { square(x); }},
      {"reciprocal", [=] { reciprocal(x); }},
      {"add_scalar", [=] { add_scalar(x, 2); }},
      {"mul_scalar", [=] { mul_scalar(x, 2); }},
      {"pow_scalar", [=] { pow_scalar(x, 2); }},
      {"relu_grad", [=] { relu_grad(x, x); }},
      {"gelu_grad", [=] { gelu_grad(x, x); }},
      {"add_into", [=]() mutable { add_into(out, x); }},
      {"scale_into", [=]() mutable { scale_into(out, 2); }},
      {"axpy_into", [=]() mutable { axpy_into(out, 2, x); }},
      {"sum", [=] { sum(x, {0}); }},
      {"mean", [=] { mean(x, {0}); }},
      {"max", [=] { max(x, {0}); }},
      {"max_grad",
       [=] {
         max_grad(row, ids, {4, 4}, {0});
       }},
      {"sum_to", [=] { sum_to(x, {4}); }},
      {"concat",
       [=] {
         concat({x, x}, 0);
       }},
      {"slice_grad",
       [=] {
         slice_grad(x, {6, 4}, 0, 1);
       }},
      {"index_select", [=] { index_select(x, 0, ids); }},
      {"index_select_grad", [=] { index_select_grad(x, 0, ids, 4); }},
      {"gather", [=] { gather(x, 0, picks); }},
      {"gather_grad",
       [=] {
         gather_grad(x, 0, picks, {4, 4});
       }},
      {"embedding", [=] { embedding(x, ids); }},
      {"embedding_grad", [=] { embedding_grad(x, ids, 4); }},
      {"dropout", [=] { dropout(x, 0.5, random); }},
      {"dropout_grad", [=] { dropout_grad(x, 0.5, random); }},
      {"bias_act_dropout", [=] { bias_act_dropout(x, row, Activation::gelu, 0.5, random); }},
      {"bias_act_dropout_grad", [=] { bias_act_dropout_grad(x, x, row, Activation::gelu, 0.5, random); }},
      {"softmax", [=] { softmax(x); }},
      {"softmax_grad", [=] { softmax_grad(x, x); }},
      {"log_softmax", [=] { log_softmax(x); }},
      {"log_softmax_grad", [=] { log_softmax_grad(x, x); }},
      {"layer_norm", [=] { layer_norm(x, row, row, 1e-5); }},
      {"add_layer_norm", [=] { add_layer_norm(x, x, row, row, 1e-5); }},
      {"layer_norm_grad", [=] { layer_norm_grad(x, x, row, row, row); }},
      {"cross_entropy", [=] { cross_entropy(x, ids, true); }},
      {"cross_entropy_grad", [=] { cross_entropy_grad(row, x); }},
      {"count_correct", [=] { count_correct(x, ids); }},
      {"matmul", [=] { matmul(x, x); }},
      {"matmul_into", [=]() mutable { matmul_into(x, x, out); }},
      {"linear", [=] { linear(x, x, row); }},
      {"linear_grad_weight", [=] { linear_grad_weight(x, x); }},
      {"linear_grad_bias", [=] { linear_grad_bias(x); }},
      {"attention", [=] { attention(heads, heads, heads); }},
      {"attention_grad", [=] { attention_grad(heads, no_dlse, heads, heads, heads, attended); }},
      {"fft", [=] { fft(z, 0); }},
      {"fft_grad", [=] { fft_grad(z, 0); }},
      {"ifft", [=] { ifft(z, 0); }},
      {"ifft_grad", [=] { ifft_grad(z, 0); }},
      {"rfft", [=] { rfft(x, 1); }},
      {"rfft_grad", [=] { rfft_grad(half, 4, 1); }},
      {"irfft", [=] { irfft(half, 4, 1); }},
      {"irfft_grad", [=] { irfft_grad(x, 1); }},
      {"circular_convolve", [=] { circular_convolve(rows, rows); }},
      {"circular_correlate", [=] { circular_correlate(rows, rows); }},
      {"circular_convolve_grad", [=] { circular_convolve_grad(rows, rows, rows); }},
      {"circular_correlate_grad", [=] { circular_correlate_grad(rows, rows, rows); }},
      {"hidden_cross", [=] { hidden_cross(rows, rows); }},
      {"hidden_cross_grad", [=] { hidden_cross_grad(rows, rows, rows, rows); }},
      {"gumbel_noise",
       [=] {
         gumbel_noise({4, 4, 4}, kFloat32, random);
       }},
      {"grad_norm", [=] { grad_norm(x); }},
      {"clip_scale", [=] { clip_scale(one, 1); }},
      {"adamw", [=]() mutable { adamw(out, x, moment, square_moment, step, one, one, {}); }},
      {"sgd", [=]() mutable { sgd(out, x, velocity, one, one, {.momentum = 0.9}); }},
      {"increment", [=]() mutable { increment(count); }},
  };
}

// What `call` says when there is no memory for it; empty when it needs none.
std::string complaint_without_memory(const Op& op) {
  release_cached_memory(kCuda);
  const simt::Machine before = simt::machine();
  simt::machine().memory_bytes = memory_stats(kCuda).reserved_bytes;
  std::string said;
  try {
    op.call();
  } catch (const Error& error) {
    said = error.what();
  }
  simt::machine() = before;
  return said;
}

}  // namespace

TEST_CASE("ranges: every op opens one that has its name") {
  for (const Op& op : every_op()) {
    CAPTURE(op.name);
    const std::size_t before = simt::ranges_opened(op.name);
    op.call();
    CHECK_GT(simt::ranges_opened(op.name), before);
  }
}

TEST_CASE("ranges: every op is named when it runs out of memory") {
  for (const Op& op : every_op()) {
    const std::string said = complaint_without_memory(op);
    CAPTURE(said);
    if (!said.empty()) CHECK_EQ(said.substr(0, said.find(':')), op.name);
  }
  const Tensor x = zeros({4, 4}, kFloat32, kCuda).transpose(0, 1);
  const std::string said = complaint_without_memory({"contiguous", [&] { x.contiguous(); }});
  CHECK_EQ(said.substr(0, said.find(':')), "contiguous");
}

}  // namespace subquad::kernels
