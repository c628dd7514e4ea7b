// Matrix products: large ones, which are cuBLAS's, and the skinny ones of a narrow model.
#include <algorithm>
#include <memory>

#include "subquad/bench/gpu/case.h"
#include "subquad/kernels/matmul/matmul.h"

namespace subquad::bench::gpu {

namespace {

struct Size {
  Index m, n, k;
};

Case product(Device device, const Size& s, Precision precision) {
  const auto m = static_cast<double>(s.m), n = static_cast<double>(s.n), k = static_cast<double>(s.k);
  const auto prepare = [=](std::uint64_t seed) {
    const Tensor a = normal({s.m, s.k}, device, seed, 1), b = normal({s.k, s.n}, device, seed, 2);
    const auto out = std::make_shared<Tensor>();
    return Prepared{[=] {
                      const PrecisionGuard guard(precision);
                      *out = kernels::matmul(a, b);
                    },
                    [=] {  // the first and the last rows
                      const Index rows = std::min<Index>(s.m, 4);
                      double worst = 0;
                      for (const Index from : {Index{0}, s.m - rows}) {
                        const Tensor want = kernels::matmul(doubles(a.slice(0, from, from + rows)), doubles(b));
                        worst = std::max(worst, error_of(out->slice(0, from, from + rows), want));
                      }
                      return worst;
                    },
                    [=] {
                      return std::map<std::string, Tensor>{{"a", a}, {"b", b}, {"out", *out}};
                    }};
  };
  return {.op = "matmul",
          .shape = {{"m", s.m}, {"n", s.n}, {"k", s.k}},
          .precision = precision,
          .flops = 2 * m * n * k,
          .bytes = 4 * (m * k + k * n + m * n),
          .tolerance = tolerance_of(precision, s.k),
          .prepare = prepare};
}

}  // namespace

std::vector<Case> matmul_cases(Device device, bool tiny) {
  const std::vector<Size> sizes =
      tiny ? std::vector<Size>{{48, 40, 24}}
           : std::vector<Size>{
                 {8192, 8192, 8192}, {4096, 4096, 4096}, {65536, 512, 512}, {65536, 64, 64}, {65536, 128, 64}};
  std::vector<Case> cases;
  for (const Size& size : sizes)
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
      cases.push_back(product(device, size, precision));
  return cases;
}

}  // namespace subquad::bench::gpu
