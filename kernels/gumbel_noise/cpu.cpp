#include "subquad/kernels/gumbel_noise/cpu.h"

#include <cmath>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

void gumbel_noise(const RandomState& random, const GumbelOptions& options, Tensor& out) {
  const PhiloxKey key = philox_key(random.seed, random.stream);
  const Index now = *random.step.data<Index>();
  const auto step = static_cast<std::uint32_t>(now);
  const double done = options.fade_steps == 0 ? 0 : static_cast<double>(now) / static_cast<double>(options.fade_steps);
  const double gamma = options.scale * std::max(0.0, 1 - done);
  visit_float("gumbel_noise", out.dtype(), [&]<class T>(Type<T>) {
    auto noise = out.view<T, 3>();
    const Index heads = out.dim(1), positions = out.dim(2);
    const auto row = [&](Index b, Index n, Index quad) {  // four heads share a draw of Philox
      const auto sample = static_cast<std::uint32_t>(random.samples.data<Index>()[b]);
      const PhiloxCounter words =
          philox4x32({static_cast<std::uint32_t>(quad), static_cast<std::uint32_t>(n), sample, step}, key);
      for (Index h = 4 * quad; h < std::min(heads, 4 * quad + 4); ++h) {
        const double u = (static_cast<double>(words[static_cast<std::size_t>(h % 4)] >> 8) + 0.5) * 0x1p-24;
        noise(b, h, n) = static_cast<T>(-gamma * std::log(-std::log(u)));
      }
    };
    parallel_chunks(out.dim(0) * positions, 256, 100 * heads, [&](Index begin, Index end) {
      for (Index place = begin; place < end; ++place)
        for (Index quad = 0; 4 * quad < heads; ++quad) row(place / positions, place % positions, quad);
    });
  });
}

}  // namespace subquad::kernels::cpu
