#include "subquad/kernels/chord_matmul/cuda.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/chord_matmul/cuda_products.h"

// A chain is one launch, and one that turns the weights, where a slice of a sample's columns fits into shared memory
// twice, else one launch per factor.
// Backward: the gradients of V_{M-1} ... V_0 the same way back, then the products of rows that are dweights; in one
// launch for all factors where the chain is.

namespace subquad::kernels::cuda {

namespace {

constexpr Index kMostPositions = Index{1} << 30;

void check_size(const char* op, const ChainArguments& chain) {
  if (chain.values.dim(1) > kMostPositions)
    throw Error(cat(op, ": values has ", chain.values.dim(1), " positions, expected at most 2^30 on CUDA"));
}

// dweights is a sum of no terms where there are no columns.
bool empty_rows(const ChainArguments& chain) {
  return chain.values.size() == 0;
}

void backward_in_one(const ChainArguments& chain, const Tensor& dout, const Tensor& kept, Tensor& dweights,
                     Tensor& dvalues) {
  Tensor ups = empty(kept.shape(), kept.dtype(), kept.device(), "chord_chain_grad");
  multiply_chain({chain, true}, dout, ups, dvalues);
  dot_rows(chain, 0, {chain.values, kept, ups, dout}, dweights);
}

void backward_in_steps(const ChainArguments& chain, const Tensor& dout, const Tensor& kept, Tensor& dweights,
                       Tensor& dvalues) {
  const Way way{chain, true};
  Tensor total, ups[2];  // two take turns
  if (chain.residual == MixResidual::fixed && way.factors() > 1) total = empty_like(dout, "chord_chain_grad");
  for (Index i = 0; i < 2 && i < way.factors() - 1; ++i) ups[i] = empty_like(dout, "chord_chain_grad");
  Tensor up = dout;
  for (Index step = 0; step < way.factors(); ++step) {
    const Index m = way.factor(step);
    Tensor of_factor = dweights.slice(0, m, m + 1);
    dot_rows(chain, m, {m == 0 ? chain.values : kept.select(0, m - 1), {}, {}, up}, of_factor);
    Tensor& to = m == 0 ? dvalues : ups[step % 2];
    multiply_factor(way, step, up, total, to);
    up = to;
  }
}

}  // namespace

void chord_chain(const ChainArguments& chain, Tensor& kept, Tensor& out) {
  check_size("chord_chain", chain);
  if (empty_rows(chain)) return;
  const Way way{chain};
  if (way.factors() > 1 && chain_fits(chain)) return multiply_chain(way, chain.values, kept, out);
  Tensor spare[2], none;  // two take turns where nothing is kept
  if (!kept.defined())
    for (Index i = 0; i < 2 && i < way.factors() - 1; ++i) spare[i] = empty_like(out, "chord_chain");
  Tensor from = chain.values;
  for (Index m = 0; m < way.factors(); ++m) {
    Tensor to = m + 1 == way.factors() ? out : kept.defined() ? kept.select(0, m) : spare[m % 2];
    multiply_factor(way, m, from, none, to);
    from = to;
  }
}

void chord_chain_grad(const ChainArguments& chain, const Tensor& dout, const Tensor& kept, Tensor& dweights,
                      Tensor& dvalues) {
  check_size("chord_chain_grad", chain);
  if (empty_rows(chain)) return fill(dweights, 0);
  if (chain.weights.dim(0) > 1 && chain_fits(chain)) return backward_in_one(chain, dout, kept, dweights, dvalues);
  backward_in_steps(chain, dout, kept, dweights, dvalues);
}

}  // namespace subquad::kernels::cuda
