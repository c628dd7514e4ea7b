#include "subquad/tests/golden/changed_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "subquad/tests/golden/golden_file.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

SafetensorsFile file_here(const std::string& name) {
  return read_safetensors(std::filesystem::path(SUBQUAD_SOURCE_DIR) / "tests/golden" / (name + ".safetensors"));
}

Tensor twice(const Tensor& t) {
  const Tensor both = empty(t.shape().inserted(0, 2), t.dtype(), kCpu);
  for (Index i = 0; i < 2; ++i) {
    Tensor one = both.select(0, i);
    copy(t, one);
  }
  std::vector<Index> sizes = {2 * t.dim(0)};
  for (int d = 1; d < t.rank(); ++d) sizes.push_back(t.dim(d));
  return both.reshape(Shape(sizes));
}

Tensor moved_at(const Tensor& t, Index flat, double by) {
  Tensor wide = doubles(t.contiguous()).clone();
  wide.data<double>()[flat] += by;
  return wide.to(t.dtype());
}

SafetensorsFile butterfly_case() {
  SafetensorsFile file;
  file.metadata = {{"mechanism", "paramixer"}, {"kind", "chord_matmul"}, {"protocol", "butterfly"}, {"n_links", "2"}};
  file.tensors["offsets"] = tensor<Index>({0, 1}, {2});
  file.tensors["index.rows"] = tensor<Index>({0, 0, 1, 1, 2, 2, 3, 3}, {8});
  file.tensors["index.cols"] = tensor<Index>({0, 1, 1, 0, 2, 3, 3, 2}, {8});
  file.tensors["in.weights"] = tensor<double>({1, 2, 3, 4, 5, 6, 7, 8}, {1, 4, 2});
  file.tensors["in.values"] = tensor<double>({1, 10, 100, 1000}, {1, 4, 1});
  file.tensors["mid.dense"] = tensor<double>({1, 2, 0, 0, 4, 3, 0, 0, 0, 0, 5, 6, 0, 0, 8, 7}, {1, 4, 4});
  file.tensors["out"] = tensor<double>({21, 34, 6500, 7800}, {1, 4, 1});
  file.tensors["up.out"] = tensor<double>({1, 1, 1, 1}, {1, 4, 1});
  file.tensors["grad.weights"] = tensor<double>({1, 10, 10, 1, 100, 1000, 1000, 100}, {1, 4, 2});
  file.tensors["grad.values"] = tensor<double>({5, 5, 13, 13}, {1, 4, 1});
  return file;
}

SafetensorsFile zeros_in_front_case() {
  SafetensorsFile file;
  file.metadata = {{"mechanism", "nystromformer"},
                   {"kind", "attention"},
                   {"num_landmarks", "8"},
                   {"seq_len", "5"},
                   {"pinv_iterations", "6"},
                   {"pinv_init", "product"},
                   {"conv_kernel_size", "0"},
                   {"mask_mode", "lucidrains"},
                   {"landmark_rule", "left zero padding, then equal segments"}};
  const Shape shape = {1, 1, 5, 1};
  for (const char* name : {"in.q", "in.k", "grad.q", "grad.k"}) file.tensors[name] = zeros(shape, kFloat64, kCpu);
  file.tensors["in.v"] = tensor<double>({1, 2, 4, 8, 1}, shape);
  file.tensors["out"] = full(shape, 2, kFloat64, kCpu);
  file.tensors["up.out"] = tensor<double>({8, 8, 0, 0, 16}, shape);
  file.tensors["grad.v"] = full(shape, 4, kFloat64, kCpu);
  return file;
}

SafetensorsFile with_level_summaries(SafetensorsFile file) {
  const Tensor &q = file.tensors.at("in.q"), &k = file.tensors.at("in.k"), &v = file.tensors.at("in.v");
  const Index length = q.dim(2), width = q.dim(3);
  Index spans = 0;
  for (Index size = 2; size < length; size *= 2) spans += (length + size - 1) / size;
  Tensor q_span = full({q.dim(0), q.dim(1), spans, width}, -1e9, kFloat64, kCpu), k_span = q_span.clone();
  Tensor v_span = zeros(q_span.shape(), kFloat64, kCpu);
  auto qs = q_span.view<double, 4>(), ks = k_span.view<double, 4>(), vs = v_span.view<double, 4>();
  for (Index b = 0; b < q.dim(0); ++b)
    for (Index h = 0, s = 0; h < q.dim(1); ++h, s = 0)
      for (Index size = 2; size < length; size *= 2)
        for (Index first = 0; first < length; first += size, ++s) {
          const Index end = std::min(first + size, length);
          for (Index j = first; j < end; ++j)
            for (Index e = 0; e < width; ++e) {
              qs(b, h, s, e) = std::max(qs(b, h, s, e), at(q, {b, h, j, e}) / std::sqrt(static_cast<double>(width)));
              ks(b, h, s, e) = std::max(ks(b, h, s, e), at(k, {b, h, j, e}));
            }
          double total = 0;
          for (Index j = first; j < end; ++j) {
            double logit = 0;
            for (Index e = 0; e < width; ++e) logit += qs(b, h, s, e) * at(k, {b, h, j, e});
            total += std::exp(logit);
            for (Index e = 0; e < width; ++e) vs(b, h, s, e) += std::exp(logit) * at(v, {b, h, j, e});
          }
          for (Index e = 0; e < width; ++e) vs(b, h, s, e) /= total;
        }
  file.tensors["mid.q_span"] = q_span;
  file.tensors["mid.k_span"] = k_span;
  file.tensors["mid.v_span"] = v_span;
  return file;
}

SafetensorsFile nearly_tied(SafetensorsFile file) {
  const GoldenFile golden(file);
  const double gamma = golden.real("gamma");
  const auto taken = static_cast<std::size_t>(golden.number("n_col", 1));
  const Tensor& score = file.tensors.at("col_score");
  Tensor noise = file.tensors.at("noise_col").contiguous().clone();
  const Index length = score.dim(2);
  for (Index row = 0; row < score.size() / length; ++row) {
    const auto key = [&](Index i) { return at(score, row * length + i) + gamma * at(noise, row * length + i); };
    std::vector<Index> order;
    for (Index i = 0; i < length; ++i) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](Index a, Index b) { return key(a) > key(b); });
    const double gap = key(order[taken - 1]) - key(order[taken]);
    noise.data<double>()[row * length + order[taken]] += (gap - 1e-12) / gamma;
  }
  file.tensors["noise_col"] = noise;
  return file;
}

}  // namespace subquad::test
