#include "subquad/kernels/bias_act_dropout/cpu.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

namespace {

// The factors keep / (1 - p) of one row.
class Dropout {
 public:
  Dropout(const Tensor& x, double p, const RandomState& rng) : p_(p), scale_(1 / (1 - p)) {
    if (p == 0) return;
    key_ = philox_key(rng.seed, rng.stream);
    step_ = static_cast<std::uint32_t>(rng.step.item<std::int64_t>());
    samples_ = rng.samples.data<std::int64_t>();
    positions_ = x.shape().without(x.rank() - 1).without(0).size();
  }

  bool active() const { return p_ > 0; }

  template <class T>
  T factor(Index row, Index d) const {
    if (!active()) return 1;
    const PhiloxCounter words =
        philox4x32({static_cast<std::uint32_t>(d / 4), static_cast<std::uint32_t>(row % positions_),
                    static_cast<std::uint32_t>(samples_[row / positions_]), step_},
                   key_);
    return uniform_float(words[static_cast<std::size_t>(d % 4)]) >= p_ ? static_cast<T>(scale_) : T{0};
  }

 private:
  double p_, scale_;
  PhiloxKey key_ = {};
  std::uint32_t step_ = 0;
  const std::int64_t* samples_ = nullptr;
  Index positions_ = 1;
};

template <class T>
T normal_cdf(T z) {
  return (1 + std::erf(z * (std::numbers::sqrt2_v<T> / 2))) / 2;
}

template <class T>
T activate(Activation activation, T z) {
  if (activation == Activation::relu) return z < 0 ? T{0} : z;
  if (activation == Activation::gelu) return z * normal_cdf(z);
  return z;
}

template <class T>
T slope(Activation activation, T z) {
  if (activation == Activation::relu) return z > 0 ? T{1} : T{0};
  if (activation == Activation::gelu)
    return normal_cdf(z) + z * std::exp(-z * z / 2) * (std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>);
  return 1;
}

}  // namespace

void bias_act_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                      Tensor& out) {
  const Index width = x.shape().back();
  if (x.size() == 0) return;
  const Dropout dropout(x, p, rng);
  visit_float("bias_act_dropout", x.dtype(), [&]<class T>(Type<T>) {
    const T* shift = bias.defined() ? bias.data<T>() : nullptr;
    parallel_for(x.size() / width, width * 20, [&](Index row) {
      const T* in = x.data<T>() + row * width;
      T* to = out.data<T>() + row * width;
      for (Index d = 0; d < width; ++d)
        to[d] = dropout.factor<T>(row, d) * activate(activation, in[d] + (shift ? shift[d] : T{0}));
    });
  });
}

void bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias, Activation activation, double p,
                           const RandomState& rng, Tensor& dx, Tensor& partial) {
  const Index width = x.shape().back();
  if (x.size() == 0) return;
  const Dropout dropout(x, p, rng);
  visit_float("bias_act_dropout_grad", x.dtype(), [&]<class T>(Type<T>) {
    const T* shift = bias.defined() ? bias.data<T>() : nullptr;
    parallel_chunks(x.size() / width, kRowsPerChunk, width * 20, [&](Index begin, Index end) {
      T* dbias = shift ? partial.data<T>() + begin / kRowsPerChunk * width : nullptr;
      if (dbias) std::fill_n(dbias, width, T{0});
      for (Index row = begin; row < end; ++row) {
        const T *up = dout.data<T>() + row * width, *in = x.data<T>() + row * width;
        T* to = dx.data<T>() + row * width;
        for (Index d = 0; d < width; ++d) {
          to[d] = up[d] * dropout.factor<T>(row, d) * slope(activation, in[d] + (shift ? shift[d] : T{0}));
          if (dbias) dbias[d] += to[d];
        }
      }
    });
  });
}

}  // namespace subquad::kernels::cpu
