#include "subquad/kernels/chord_matmul/chord_matmul.h"

#include "subquad/core/check.h"
#include "subquad/kernels/chord_matmul/cpu.h"
#include "subquad/kernels/chord_matmul/cuda.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad::kernels {

namespace {

void check_links(const char* op, const std::vector<Links>& links) {
  if (links.empty()) throw Error(cat(op, ": links has no factor, expected at least one"));
  for (const Links& factor : links) {
    if (factor.count() < 1) throw Error(cat(op, ": links is empty, expected at least one link per row"));
    if (factor.count() != links.front().count())
      throw Error(cat(op, ": links has factors of ", links.front().count(), " and of ", factor.count(),
                      " links, expected as many in each"));
    for (const Index offset : factor.offsets)
      if (factor.rule == LinkRule::flip && offset < 0)
        throw Error(cat(op, ": links has offset ", offset, ", expected 0 or more where positions are flipped"));
  }
}

void check_prefix(const char* op, const Mask& mask, const Tensor& values) {
  check_mask(op, mask, values.dim(0), values.dim(1));
  if (!mask.defined()) return;
  check_same_device(op, "values", values, "mask", mask.real);
  if (!mask.prefix)
    throw Error(cat(op, ": mask has padding before real positions, expected every sample's real ones first ",
                    "(compact moves them there)"));
}

// What a door was called with, checked. `axes` names those of weights.
struct Call {
  const char* op;
  const char* axes;  // "[B, N, L]" or, for a chain, "[M, B, N, L]"
  const Tensor& weights;
  const Tensor& values;
  const std::vector<Links>& links;
  MixResidual residual;
  const Mask& mask;
  bool chain;

  Shape own_shape() const {
    const Shape one = {values.dim(0), values.dim(1), links.front().count()};
    return chain ? one.inserted(0, static_cast<Index>(links.size())) : one;
  }
  Shape shared_shape() const { return own_shape().without(chain ? 1 : 0); }
  bool shared() const { return weights.shape() == shared_shape(); }

  void check() const {
    check_rank(op, "values", values, 3);
    check_float(op, "values", values);
    check_links(op, links);
    check_defined(op, "weights", weights);
    if (weights.shape() != own_shape() && !shared())
      throw ShapeError(cat(op, ": weights is ", describe(weights), ", expected ", own_shape(), " = ", axes,
                           " or, shared by all samples, ", shared_shape(), " for values ", values.shape(), " and ",
                           links.front().count(), " links"));
    check_alike(op, "values", values, "weights", weights);
    check_prefix(op, mask, values);
  }

  Flops work() const {  // of one product per factor
    return {2 * static_cast<double>(values.size()) * static_cast<double>(links.size() * links.front().offsets.size())};
  }

  ChainArguments arguments() const {
    const Tensor factors = chain ? weights : weights.unsqueeze(0);  // [M, B, N, L] or [M, N, L]
    const Shape every = {factors.dim(0), values.dim(0), values.dim(1), links.front().count()};
    return {shared() ? factors.unsqueeze(1).expand(every) : factors, values, links, residual, mask};
  }

  ChordChain forward(bool keep) const {
    check();
    ChordChain result{empty_like(values, op), {}};
    const Index between = static_cast<Index>(links.size()) - 1;
    if (keep) result.kept = empty(values.shape().inserted(0, between), values.dtype(), values.device(), op);
    on_device(
        values.device(), [&](auto) { cpu::chord_chain(arguments(), result.kept, result.out); },
        [&](auto) { cuda::chord_chain(arguments(), result.kept, result.out); }, work(), op);
    return result;
  }

  ChordGrads backward(const Tensor& dout, const Tensor& kept) const {
    check();
    check_shape(op, "dout", dout, values.shape());
    check_alike(op, "values", values, "dout", dout);
    if (links.size() > 1) {
      check_shape(op, "kept", kept, values.shape().inserted(0, static_cast<Index>(links.size()) - 1));
      check_alike(op, "values", values, "kept", kept);
    }
    const ChainArguments args = arguments();
    ChordGrads grads{empty(args.weights.shape(), values.dtype(), values.device(), op), empty_like(values, op)};
    on_device(
        values.device(), [&](auto) { cpu::chord_chain_grad(args, dout, kept, grads.dweights, grads.dvalues); },
        [&](auto) { cuda::chord_chain_grad(args, dout, kept, grads.dweights, grads.dvalues); }, Flops{2 * work().count},
        op);
    grads.dweights = shared() ? sum(grads.dweights, {1}) : grads.dweights;  // [M, B, N, L] -> [M, N, L]
    if (!chain) grads.dweights = grads.dweights.squeeze(0);
    return grads;
  }
};

MixResidual residual_of(bool residual) {
  return residual ? MixResidual::running : MixResidual::none;
}

constexpr const char* kOne = "[B, N, L]";
constexpr const char* kChain = "[M, B, N, L]";

}  // namespace

Tensor chord_matmul(const Tensor& weights, const Tensor& values, const Links& links, const Mask& mask, bool residual) {
  const std::vector<Links> one = {links};
  return Call{"chord_matmul", kOne, weights, values, one, residual_of(residual), mask, false}.forward(false).out;
}

Tensor butterfly_matmul(const Tensor& weights, const Tensor& values, Index distance, const Mask& mask) {
  const std::vector<Links> one = {butterfly_links(distance)};
  return Call{"butterfly_matmul", kOne, weights, values, one, MixResidual::none, mask, false}.forward(false).out;
}

ChordGrads chord_matmul_grad(const Tensor& dout, const Tensor& weights, const Tensor& values, const Links& links,
                             const Mask& mask, bool residual) {
  const std::vector<Links> one = {links};
  const Call call{"chord_matmul_grad", kOne, weights, values, one, residual_of(residual), mask, false};
  return call.backward(dout, {});
}

ChordChain chord_chain(const Tensor& weights, const Tensor& values, const std::vector<Links>& links,
                       MixResidual residual, const Mask& mask, bool keep) {
  return Call{"chord_chain", kChain, weights, values, links, residual, mask, true}.forward(keep);
}

ChordGrads chord_chain_grad(const Tensor& dout, const Tensor& weights, const Tensor& values, const Tensor& kept,
                            const std::vector<Links>& links, MixResidual residual, const Mask& mask) {
  return Call{"chord_chain_grad", kChain, weights, values, links, residual, mask, true}.backward(dout, kept);
}

}  // namespace subquad::kernels
