#include "subquad/kernels/layer_norm/cpu.h"

#include <cmath>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

void add_layer_norm(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, double eps,
                    AddLayerNorm& result) {
  visit_float("layer_norm", x.dtype(), [&]<class T>(Type<T>) {
    const Index width = x.shape().back();
    const T *scale = gamma.data<T>(), *shift = beta.data<T>();
    parallel_for(result.mean.size(), width * 4, [&](Index row) {
      const T* in = x.data<T>() + row * width;
      T* out = result.out.data<T>() + row * width;
      if (residual.defined()) {
        const T* other = residual.data<T>() + row * width;
        T* sum = result.sum.data<T>() + row * width;
        for (Index d = 0; d < width; ++d) sum[d] = in[d] + other[d];
        in = sum;
      }
      const T inverse = width > 0 ? T{1} / static_cast<T>(width) : T{0};
      T total = 0;
      for (Index d = 0; d < width; ++d) total += in[d];
      const T mean = total * inverse;
      T squares = 0;
      for (Index d = 0; d < width; ++d) squares += (in[d] - mean) * (in[d] - mean);
      const T rstd = 1 / std::sqrt(squares * inverse + static_cast<T>(eps));
      for (Index d = 0; d < width; ++d) out[d] = (in[d] - mean) * rstd * scale[d] + shift[d];
      result.mean.data<T>()[row] = mean;
      result.rstd.data<T>()[row] = rstd;
    });
  });
}

void layer_norm_grad(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                     const Tensor& dsum, Tensor& dx, Tensor& partial) {
  visit_float("layer_norm_grad", x.dtype(), [&]<class T>(Type<T>) {
    const Index width = x.shape().back();
    const T inverse = width > 0 ? T{1} / static_cast<T>(width) : T{0};
    const T* scale = gamma.data<T>();
    parallel_chunks(mean.size(), kRowsPerChunk, width * 8, [&](Index begin, Index end) {
      T* dgamma = partial.data<T>() + begin / kRowsPerChunk * 2 * width;
      T* dbeta = dgamma + width;
      std::fill(dgamma, dbeta + width, T{0});
      for (Index row = begin; row < end; ++row) {
        const T *up = dout.data<T>() + row * width, *in = x.data<T>() + row * width;
        const T m = mean.data<T>()[row], s = rstd.data<T>()[row];
        T sum = 0, dot = 0;
        for (Index d = 0; d < width; ++d) {
          const T hat = (in[d] - m) * s;
          sum += up[d] * scale[d];
          dot += up[d] * scale[d] * hat;
          dgamma[d] += up[d] * hat;
          dbeta[d] += up[d];
        }
        T* out = dx.data<T>() + row * width;
        const T* extra = dsum.defined() ? dsum.data<T>() + row * width : nullptr;
        for (Index d = 0; d < width; ++d) {
          const T hat = (in[d] - m) * s;
          out[d] = s * (up[d] * scale[d] - inverse * sum - inverse * dot * hat) + (extra ? extra[d] : T{0});
        }
      }
    });
  });
}

}  // namespace subquad::kernels::cpu
