#include "subquad/examples/inspect/softmax_matrix.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "subquad/core/check.h"
#include "subquad/core/parallel.h"

namespace subquad::inspect {

namespace {

constexpr const char* kOp = "softmax_matrix";

// Row i of one head: keys [E, N], so that the inner loop runs along memory. `seen` has a byte for each key.
void softmax_row(View<const double, 1> q, View<const double, 2> keys, const std::vector<char>& seen,
                 std::vector<double>& row) {
  const Index positions = keys.dim(1);
  const double scale = 1 / std::sqrt(static_cast<double>(q.dim(0)));
  std::fill(row.begin(), row.end(), 0.0);
  for (Index e = 0; e < q.dim(0); ++e) {
    const double* key = &keys(e, 0);
    for (Index j = 0; j < positions; ++j) row[static_cast<std::size_t>(j)] += scale * q(e) * key[j];
  }
  double most = -INFINITY, sum = 0;
  for (std::size_t j = 0; j < row.size(); ++j)
    if (seen[j]) most = std::max(most, row[j]);
  for (std::size_t j = 0; j < row.size(); ++j) sum += row[j] = seen[j] ? std::exp(row[j] - most) : 0;
  for (double& p : row) p /= sum;  // never 0: a real query sees itself
}

}  // namespace

Tensor softmax_matrix(const Tensor& q, const Tensor& k, const Mask& mask, bool causal) {
  check_rank(kOp, "q", q, 4);
  check_shape(kOp, "k", k, q.shape());
  const Index batch = q.dim(0), heads = q.dim(1), positions = q.dim(2);
  check_mask(kOp, mask, batch, positions);
  const Tensor queries = q.to(kCpu).to(kFloat64).contiguous();
  const Tensor keys = k.to(kCpu).to(kFloat64).transpose(2, 3).contiguous();  // [B, H, E, N]
  const Tensor real = mask.defined() ? mask.real.to(kCpu) : full({batch, positions}, 1, kBool, kCpu);
  Tensor matrix = zeros({batch, heads, positions, positions}, q.dtype(), kCpu);
  parallel_for(batch * heads * positions, positions * (2 * q.dim(3) + 20), [&](Index each) {
    const Index i = each % positions, h = each / positions % heads, b = each / positions / heads;
    const auto is_real = real.view<const bool, 2>();
    if (!is_real(b, i)) return;
    std::vector<char> seen(static_cast<std::size_t>(positions));
    for (Index j = 0; j < positions; ++j) seen[static_cast<std::size_t>(j)] = is_real(b, j) && (!causal || j <= i);
    std::vector<double> row(seen.size());
    softmax_row(queries.select(0, b).select(0, h).select(0, i).view<const double, 1>(),
                keys.select(0, b).select(0, h).view<const double, 2>(), seen, row);
    visit_float(kOp, matrix.dtype(), [&]<class T>(Type<T>) {
      std::ranges::transform(row, matrix.data<T>() + each * positions, [](double p) { return static_cast<T>(p); });
    });
  });
  return matrix;
}

}  // namespace subquad::inspect
