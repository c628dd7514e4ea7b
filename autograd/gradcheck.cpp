#include "subquad/autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "subquad/autograd/backward.h"
#include "subquad/core/check.h"
#include "subquad/core/rng.h"

namespace subquad {
namespace {

using Vector = std::vector<double>;  // one entry per element of all outputs, or of one input

Vector flatten(const std::vector<Tensor>& tensors) {
  Vector out;
  for (const Tensor& t : tensors) {
    const Tensor whole = t.to(kCpu).contiguous();
    const auto values = std::as_const(whole).span<double>();
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// All unit vectors when there are few elements, else random directions of length about 1.
std::vector<Vector> directions(std::size_t size, const GradcheckOptions& options, Rng& rng) {
  std::vector<Vector> out;
  if (static_cast<Index>(size) <= options.full_limit) {
    for (std::size_t i = 0; i < size; ++i) {
      out.emplace_back(size, 0.0)[i] = 1;
    }
    return out;
  }
  for (int n = 0; n < options.directions; ++n) {
    Vector v(size);
    for (double& x : v) x = rng.normal() / std::sqrt(static_cast<double>(size));
    out.push_back(std::move(v));
  }
  return out;
}

std::vector<Variable> float_outputs(const std::vector<Variable>& outputs) {
  std::vector<Variable> out;
  for (const Variable& o : outputs) {
    if (!is_floating(o.dtype())) continue;
    check_dtype("gradcheck", "output", o.value(), kFloat64);
    out.push_back(o);
  }
  if (out.empty()) throw Error("gradcheck: the function has no floating-point output");
  return out;
}

// f at x + h v, where v moves input `moved` only; moved on the CPU, wherever x is.
Vector values_at(const GradcheckFn& f, std::vector<Variable> inputs, std::size_t moved, const Vector& v, double h) {
  const Tensor& value = inputs[moved].value();
  const Tensor x = value.to(kCpu).contiguous();
  Tensor shifted = empty_like(x);
  for (Index i = 0; i < x.size(); ++i)
    shifted.data<double>()[i] = std::as_const(x).data<double>()[i] + h * v[static_cast<std::size_t>(i)];
  inputs[moved] = Variable(shifted.to(value.device()));
  const NoGrad no_grad;
  std::vector<Tensor> values;
  for (const Variable& o : float_outputs(f(inputs))) values.push_back(o.value());
  return flatten(values);
}

std::vector<Tensor> split_like(const Vector& flat, const std::vector<Variable>& outputs) {
  std::vector<Tensor> out;
  std::size_t from = 0;
  for (const Variable& o : outputs) {
    const auto count = static_cast<std::size_t>(o.value().size());
    out.push_back(tensor<double>(std::span(flat).subspan(from, count), o.shape()).to(o.device()));
    from += count;
  }
  return out;
}

double step_for(const Tensor& x, double relative) {
  double largest = 1;
  for (const double value : flatten({x})) largest = std::max(largest, std::fabs(value));
  return relative * largest;
}

class Checker {
 public:
  Checker(const GradcheckFn& f, const std::vector<Variable>& inputs, const GradcheckOptions& options)
      : f_(f), inputs_(inputs), options_(options), rng_(options.seed, stream_id("gradcheck")) {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (!inputs_[i].requires_grad()) continue;
      check_dtype("gradcheck", "input", inputs_[i].value(), kFloat64);
      checked_.push_back(i);
    }
    if (checked_.empty()) throw Error("gradcheck: no input requires a gradient");
  }

  GradcheckResult run() {
    const std::vector<Variable> outputs = float_outputs(f_(inputs_));
    std::size_t size = 0;
    for (const Variable& o : outputs) size += static_cast<std::size_t>(o.value().size());
    const std::vector<Vector> upstreams = directions(size, options_, rng_);
    std::vector<Variable> leaves;
    for (const std::size_t input : checked_) leaves.push_back(inputs_[input]);
    std::vector<std::vector<Tensor>> gradients;  // of each upstream: one per checked input
    for (const Vector& u : upstreams)
      gradients.push_back(grad(outputs, leaves, split_like(u, outputs), {.keep_graph = true}));
    for (std::size_t i = 0; i < checked_.size(); ++i) {
      std::vector<Vector> of_input;
      for (const std::vector<Tensor>& g : gradients) of_input.push_back(flatten({g[i]}));
      compare(checked_[i], upstreams, of_input);
    }
    return result_;
  }

 private:
  // gradients: of <u, f> with respect to this input, for each upstream u.
  void compare(std::size_t input, const std::vector<Vector>& upstreams, const std::vector<Vector>& gradients) {
    const double h = step_for(inputs_[input].value(), options_.step);
    const auto size = static_cast<std::size_t>(inputs_[input].value().size());
    const std::vector<Vector> moves = directions(size, options_, rng_);
    std::vector<Pair> pairs;
    for (std::size_t m = 0; m < moves.size(); ++m) {
      Vector slope = values_at(f_, inputs_, input, moves[m], h);
      const Vector below = values_at(f_, inputs_, input, moves[m], -h);
      for (std::size_t i = 0; i < slope.size(); ++i) slope[i] = (slope[i] - below[i]) / (2 * h);
      for (std::size_t u = 0; u < upstreams.size(); ++u)
        pairs.push_back({m, u, dot(upstreams[u], slope), dot(moves[m], gradients[u])});
    }
    judge(input, pairs);
  }

  struct Pair {
    std::size_t direction;
    std::size_t upstream;
    double numeric;
    double analytic;
  };

  void judge(std::size_t input, const std::vector<Pair>& pairs) {
    double scale = options_.floor;
    for (const Pair& p : pairs) scale = std::max({scale, std::fabs(p.numeric), std::fabs(p.analytic)});
    for (const Pair& p : pairs) {
      const double error = std::fabs(p.numeric - p.analytic) / scale;
      if (error <= result_.worst) continue;
      result_.worst = std::isnan(error) ? INFINITY : error;
      if (error <= options_.tolerance) continue;
      result_.passed = false;
      result_.message =
          cat("input ", input, ", direction ", p.direction, ", upstream ", p.upstream, ": numeric ", p.numeric,
              ", analytic ", p.analytic, ", relative error ", error, " > ", options_.tolerance);
    }
  }

  const GradcheckFn& f_;
  const std::vector<Variable>& inputs_;
  const GradcheckOptions& options_;
  Rng rng_;
  std::vector<std::size_t> checked_;
  GradcheckResult result_;
};

}  // namespace

GradcheckResult gradcheck(const GradcheckFn& f, const std::vector<Variable>& inputs, GradcheckOptions options) {
  return Checker(f, inputs, options).run();
}

}  // namespace subquad
