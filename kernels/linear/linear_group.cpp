#include "subquad/kernels/linear/linear_group.h"

#include "subquad/kernels/linear/cpu.h"
#include "subquad/kernels/linear/cuda.h"
#include "subquad/kernels/linear/linear.h"
#include "subquad/kernels/linear/rows.h"
#include "subquad/kernels/matmul/cpu.h"
#include "subquad/kernels/matmul/cuda.h"

namespace subquad::kernels {

namespace {

void check_count(const char* op, const char* name, std::size_t count, std::size_t expected) {
  if (count == 0 || count != expected)
    throw ShapeError(cat(op, ": ", count, " ", name, ", expected ", std::max<std::size_t>(expected, 1)));
}

}  // namespace

Tensor linear_group(const Tensor& x, const std::vector<Tensor>& weights, const std::vector<Tensor>& biases) {
  constexpr const char* kOp = "linear_group";
  check_linear_input(kOp, "x", x);
  check_count(kOp, "weights", weights.size(), weights.size());
  check_count(kOp, "biases", biases.size(), weights.size());
  for (std::size_t s = 0; s < weights.size(); ++s) {
    check_linear_map(kOp, x, weights[s], biases[s]);
    check_shape(kOp, "a weight", weights[s], weights[0].shape());
    if (biases[s].defined() != biases[0].defined())
      throw Error(cat(kOp, ": some biases are undefined, expected all or none"));
  }
  const Tensor rows = as_rows(x);
  const auto count = static_cast<Index>(weights.size());
  Tensor out = empty({count, rows.dim(0), weights[0].dim(1)}, product_dtype(x), x.device());
  on_device(
      out.device(),
      [&](auto) {
        for (std::size_t s = 0; s < weights.size(); ++s) {
          Tensor own = out.select(0, static_cast<Index>(s));
          cpu::matmul(rows, weights[s], biases[s], 1, 0, own);
        }
      },
      [&](auto) {
        const Tensor weight = Tensor::stack_where_they_lie(weights), bias = Tensor::stack_where_they_lie(biases);
        const bool biased = biases[0].defined();
        if (weight.defined() && bias.defined() == biased) {
          if (biased) cuda::spread_biases(bias, out);
          return cuda::matmul(rows.unsqueeze(0), weight, 1, biased ? 1 : 0, out);
        }
        for (std::size_t s = 0; s < weights.size(); ++s) {
          Tensor own = out.select(0, static_cast<Index>(s)), stack = own.unsqueeze(0);
          if (biased) cuda::spread_biases(biases[s].unsqueeze(0), stack);
          cuda::matmul(rows, weights[s], 1, biased ? 1 : 0, own);
        }
      },
      Flops{2 * static_cast<double>(out.size()) * static_cast<double>(rows.dim(1))});
  return out.reshape(x.shape().with(x.rank() - 1, weights[0].dim(1)).inserted(0, count));
}

Tensor linear_group_grad_input(const std::vector<Tensor>& douts, const std::vector<Tensor>& weights) {
  constexpr const char* kOp = "linear_group_grad_input";
  check_count(kOp, "douts", douts.size(), weights.size());
  for (std::size_t s = 0; s < douts.size(); ++s) {
    check_linear_input(kOp, "dout", douts[s]);
    check_shape(kOp, "dout", douts[s], douts[0].shape());
    check_rank(kOp, "weight", weights[s], 2);
    check_linear_map(kOp, douts[s], weights[s].transpose(0, 1), {});
    check_shape(kOp, "a weight", weights[s], weights[0].shape());
  }
  Tensor dx = empty({as_rows(douts[0]).dim(0), weights[0].dim(0)}, product_dtype(douts[0]), douts[0].device(), kOp);
  const auto add_products = [&](const auto& matmul) {
    for (std::size_t s = douts.size(); s-- > 0;)
      matmul(as_rows(douts[s]), weights[s].transpose(0, 1), s + 1 < douts.size() ? 1 : 0);
  };
  on_device(
      dx.device(),
      [&](auto) {
        add_products([&](const Tensor& a, const Tensor& b, double beta) { cpu::matmul(a, b, {}, 1, beta, dx); });
      },
      [&](auto) {
        add_products([&](const Tensor& a, const Tensor& b, double beta) { cuda::matmul(a, b, 1, beta, dx); });
      },
      Flops{2 * static_cast<double>(dx.size()) * static_cast<double>(weights[0].dim(1) * std::ssize(weights))});
  return dx.reshape(douts[0].shape().with(douts[0].rank() - 1, weights[0].dim(0)));
}

std::vector<Tensor> linear_group_grad_weights(const std::vector<Tensor>& douts, const Tensor& x) {
  constexpr const char* kOp = "linear_group_grad_weights";
  check_count(kOp, "douts", douts.size(), douts.size());
  std::vector<Tensor> rows, dweights;
  for (const Tensor& dout : douts) {
    check_linear_input(kOp, "dout", dout);
    check_same_kind(kOp, "x", x, "dout", dout);
    check_shape(kOp, "dout", dout, x.shape().with(x.rank() - 1, douts[0].dim(-1)));
    rows.push_back(as_rows(dout));
  }
  const Tensor columns = side_by_side(rows);
  if (!columns.defined()) {
    for (const Tensor& dout : douts) dweights.push_back(linear_grad_weight(dout, x));
    return dweights;
  }
  const Index count = static_cast<Index>(douts.size()), width = douts[0].dim(-1);
  const Tensor all = linear_grad_weight(columns, as_rows(x)).reshape({x.dim(-1), count, width});
  for (Index s = 0; s < count; ++s) dweights.push_back(all.select(1, s));
  return dweights;
}

Tensor linear_group_grad_bias_parts(const std::vector<Tensor>& douts) {
  constexpr const char* kOp = "linear_group_grad_bias_parts";
  check_count(kOp, "douts", douts.size(), douts.size());
  std::vector<Tensor> rows;
  for (const Tensor& dout : douts) {
    check_linear_input(kOp, "dout", dout);
    check_same_kind(kOp, "the first dout", douts[0], "dout", dout);
    check_shape(kOp, "dout", dout, douts[0].shape());
    rows.push_back(as_rows(dout));
  }
  return on_device(
      douts[0].device(),
      [&](auto) {
        Tensor parts =
            empty({static_cast<Index>(rows.size()), 1, rows[0].dim(1)}, rows[0].dtype(), rows[0].device(), kOp);
        for (std::size_t s = 0; s < rows.size(); ++s) {
          Tensor own = parts.select(0, static_cast<Index>(s)).select(0, 0);
          cpu::linear_grad_bias(rows[s], own);
        }
        return parts;
      },
      [&](auto) { return cuda::column_sums(rows); });
}

}  // namespace subquad::kernels
