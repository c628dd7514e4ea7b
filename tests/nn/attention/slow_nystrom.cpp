#include "subquad/tests/nn/attention/slow_nystrom.h"

#include <cmath>
#include <functional>
#include <vector>

#include "subquad/tests/nn/slow.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test::slow {
namespace {

using nn::NystromMask;
using Matrix = std::vector<std::vector<double>>;

Matrix matrix(Index rows, Index columns) {
  return Matrix(static_cast<std::size_t>(rows), std::vector<double>(static_cast<std::size_t>(columns), 0));
}

Matrix product(const Matrix& a, const Matrix& b, Index columns) {
  Matrix out = matrix(static_cast<Index>(a.size()), columns);
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t k = 0; k < b.size(); ++k)
      for (std::size_t j = 0; j < out[i].size(); ++j) out[i][j] += a[i][k] * b[k][j];
  return out;
}

// One head: what every landmark stands for, and everything between.
struct Head {
  Matrix q, k, v;                            // [front + N][..], q and k as the mode sees them
  std::vector<bool> real;                    // [front + N]
  std::vector<std::vector<std::size_t>> of;  // the positions of each landmark's segment
  std::vector<bool> filled;                  // [m]
  Matrix q_means, k_means, a;
  std::size_t front = 0;  // rows that stand for no token of the sequence
};

// Positions, or with `tokens` the places of real tokens, in segments of the even rule.
std::vector<std::vector<std::size_t>> even_cut(const std::vector<std::size_t>& things, std::size_t count) {
  std::vector<std::vector<std::size_t>> of(count);
  const std::size_t shorter = things.size() / count, longer = things.size() % count;
  std::size_t next = 0;
  for (std::size_t j = 0; j < count; ++j) {
    std::size_t size = shorter + (j >= count - longer ? 1 : 0);
    if (shorter == 0) size = j < things.size() ? 1 : 0;
    for (std::size_t i = 0; i < size; ++i) of[j].push_back(things[next++]);
  }
  return of;
}

std::vector<std::vector<std::size_t>> cut(const std::vector<bool>& real, bool masked, const nn::NystromConfig& config) {
  const auto count = static_cast<std::size_t>(config.landmarks);
  std::vector<std::size_t> all, tokens;
  for (std::size_t i = 0; i < real.size(); ++i) {
    all.push_back(i);
    if (real[i]) tokens.push_back(i);
  }
  if (config.mask == NystromMask::lucidrains) {  // zero rows in front, then equal segments
    const std::size_t length = (real.size() + count - 1) / count, added = length * count - real.size();
    std::vector<std::vector<std::size_t>> of(count);
    for (std::size_t i = 0; i < real.size(); ++i) of[(i + added) / length].push_back(i);
    return of;
  }
  const bool per_sample = config.mask == NystromMask::isolated && config.segments != nn::NystromSegments::padded;
  return even_cut(per_sample && masked ? tokens : all, count);
}

Matrix means(const Matrix& x, const Head& head, const nn::NystromConfig& config) {
  Matrix out = matrix(config.landmarks, static_cast<Index>(x.empty() ? 0 : x.front().size()));
  const bool by_length = config.mask == NystromMask::official || config.mask == NystromMask::huggingface;
  for (std::size_t j = 0; j < out.size(); ++j) {
    double count = 0;
    for (const std::size_t i : head.of[j]) {
      const bool counts = head.real[i] || config.mask == NystromMask::huggingface;
      count += counts || by_length ? 1 : 0;
      for (std::size_t e = 0; counts && e < out[j].size(); ++e) out[j][e] += x[i][e];
    }
    for (double& value : out[j]) value = count > 0 ? value / count : 0;
  }
  return out;
}

// softmax over the columns that row i may see; a row that sees none is 0.
Matrix softmax(const Matrix& left, const Matrix& right, double scale,
               const std::function<bool(std::size_t, std::size_t)>& sees) {
  Matrix out = matrix(static_cast<Index>(left.size()), static_cast<Index>(right.size()));
  for (std::size_t i = 0; i < left.size(); ++i) {
    double total = 0;
    for (std::size_t j = 0; j < right.size(); ++j) {
      if (!sees(i, j)) continue;
      double dot = 0;
      for (std::size_t e = 0; e < left[i].size(); ++e) dot += left[i][e] * right[j][e];
      total += out[i][j] = std::exp(scale * dot);
    }
    for (double& p : out[i]) p = total > 0 ? p / total : 0;
  }
  return out;
}

void fill_row(std::vector<double>& row, double value) {
  for (double& element : row) element = value;
}

double column_norm(const Matrix& a) {
  double top = 0;
  for (std::size_t j = 0; j < a.size(); ++j) {
    double sum = 0;
    for (const auto& row : a) sum += std::fabs(row[j]);
    top = std::max(top, sum);
  }
  return top;
}

Matrix pinv(const Matrix& a, double coefficient, int iterations) {
  const Index size = static_cast<Index>(a.size());
  const auto minus = [&](double factor, Matrix x) {  // factor I - x
    for (std::size_t i = 0; i < x.size(); ++i)
      for (std::size_t j = 0; j < x.size(); ++j) x[i][j] = (i == j ? factor : 0) - x[i][j];
    return x;
  };
  Matrix z = matrix(size, size);
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j < a.size(); ++j) z[i][j] = coefficient * a[j][i];
  for (int t = 0; t < iterations; ++t) {
    const Matrix x = product(a, z, size);
    const Matrix inner = minus(15, product(x, minus(7, x), size));
    z = product(z, minus(13, product(x, inner, size)), size);
    for (auto& row : z)
      for (double& value : row) value /= 4;
  }
  return z;
}

Matrix rows_of(const Tensor& x, Index b, Index h) {
  Matrix out = matrix(x.dim(2), x.dim(3));
  for (Index i = 0; i < x.dim(2); ++i)
    for (Index e = 0; e < x.dim(3); ++e)
      out[static_cast<std::size_t>(i)][static_cast<std::size_t>(e)] = x.view<const double, 4>()(b, h, i, e);
  return out;
}

Matrix whole_softmax(const Head& head, double scale) {
  return softmax(head.q, head.k, scale, [&](std::size_t, std::size_t j) { return head.real[j]; });
}

// F Z S v of one head.
Matrix approximated(const Head& head, const Matrix& z, double scale, const nn::NystromConfig& config) {
  const bool lucidrains = config.mask == NystromMask::lucidrains;
  const bool by_filled = lucidrains || config.mask == NystromMask::isolated;
  const Index landmarks = config.landmarks, width = static_cast<Index>(head.v.empty() ? 0 : head.v.front().size());
  Matrix f =
      softmax(head.q, head.k_means, scale, [&](std::size_t, std::size_t j) { return !by_filled || head.filled[j]; });
  Matrix s = softmax(head.q_means, head.k, scale, [&](std::size_t, std::size_t j) { return head.real[j]; });
  if (lucidrains) {
    const auto padded =
        static_cast<double>((static_cast<Index>(head.real.size()) + landmarks - 1) / landmarks * landmarks);
    for (std::size_t i = 0; i < f.size(); ++i)
      if (!head.real[i]) fill_row(f[i], 1.0 / static_cast<double>(landmarks));
    for (std::size_t j = 0; j < s.size(); ++j)
      for (std::size_t i = 0; !head.filled[j] && i < head.real.size(); ++i) s[j][i] = head.real[i] ? 1 / padded : 0;
  }
  return product(f, product(z, product(s, head.v, width), width), width);
}

Matrix between(const Head& head, double scale, const nn::NystromConfig& config) {
  const bool by_filled = config.mask == NystromMask::isolated || config.mask == NystromMask::lucidrains;
  Matrix a = softmax(head.q_means, head.k_means, scale,
                     [&](std::size_t i, std::size_t j) { return !by_filled || (head.filled[i] && head.filled[j]); });
  for (std::size_t i = 0; by_filled && i < a.size(); ++i) {
    if (head.filled[i]) continue;
    fill_row(a[i], config.mask == NystromMask::lucidrains ? 1.0 / static_cast<double>(a.size()) : 0);
    if (config.mask == NystromMask::isolated) a[i][i] = 1;
  }
  return a;
}

void put_in_front(Matrix& x, std::size_t count) {  // rows of zeros
  if (!x.empty()) x.insert(x.begin(), count, std::vector<double>(x.front().size(), 0));
}

// Nothing is approximated where tokens are no more than landmarks: of the padded length, or of a sample's own.
bool is_covered(const Head& head, bool masked, const nn::NystromConfig& config) {
  std::size_t tokens = head.real.size() - head.front;
  if (masked && config.mask == NystromMask::isolated && config.segments != nn::NystromSegments::padded) {
    tokens = 0;
    for (const bool real : head.real) tokens += real ? 1 : 0;
  }
  return config.exact_when_covered && std::min(tokens, head.real.size()) <= static_cast<std::size_t>(config.landmarks);
}

Head make_head(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask, Index b, Index h,
               const nn::NystromConfig& config) {
  Head head{rows_of(q, b, h), rows_of(k, b, h), rows_of(v, b, h), {}, {}, {}, {}, {}, {}, 0};
  for (Index i = 0; i < q.dim(2); ++i) head.real.push_back(is_real(mask, b, i));
  for (std::size_t i = 0; i < head.real.size(); ++i)
    if (!head.real[i] && config.mask != NystromMask::huggingface) {
      fill_row(head.q[i], 0);
      fill_row(head.k[i], 0);
    }
  if (config.mask == NystromMask::lucidrains && !mask.defined() && !is_covered(head, false, config)) {
    while ((head.front + head.real.size()) % static_cast<std::size_t>(config.landmarks) != 0) ++head.front;
    put_in_front(head.q, head.front);
    put_in_front(head.k, head.front);
    put_in_front(head.v, head.front);
    head.real.insert(head.real.begin(), head.front, true);  // nothing hides them
  }
  head.of = cut(head.real, mask.defined(), config);
  for (const auto& positions : head.of) {
    bool any = false;
    for (const std::size_t i : positions) any = any || head.real[i];
    head.filled.push_back(any);
  }
  head.q_means = means(head.q, head, config);
  head.k_means = means(head.k, head, config);
  return head;
}

void add_convolution(const Head& head, const Tensor& taps, Index h, const nn::NystromConfig& config, Matrix& out) {
  const Index count = taps.dim(1), positions = static_cast<Index>(out.size());
  for (Index n = 0; n < positions; ++n)
    for (Index t = 0; t < count; ++t) {
      const Index from = n + t - count / 2;
      if (from < 0 || from >= positions) continue;
      if (!head.real[static_cast<std::size_t>(from)] && config.mask != NystromMask::huggingface) continue;
      for (std::size_t c = 0; c < out[static_cast<std::size_t>(n)].size(); ++c)
        out[static_cast<std::size_t>(n)][c] += at(taps, {h, t}) * head.v[static_cast<std::size_t>(from)][c];
    }
}

}  // namespace

Tensor nystrom_attention(const Tensor& q_in, const Tensor& k_in, const Tensor& v_in, const Tensor& taps,
                         const Mask& device_mask, const nn::NystromConfig& config) {
  const Tensor q = doubles(q_in), k = doubles(k_in), v = doubles(v_in);
  const Mask mask = device_mask.to(kCpu);
  const double scale = 1 / std::sqrt(static_cast<double>(q.dim(3)));
  std::vector<Head> heads;
  double top = 0;  // the largest column sum that a shared coefficient knows
  for (Index b = 0; b < q.dim(0); ++b)
    for (Index h = 0; h < q.dim(1); ++h) {
      heads.push_back(make_head(q, k, v, mask, b, h, config));
      heads.back().a = between(heads.back(), scale, config);
      const bool covered = is_covered(heads.back(), mask.defined(), config);
      top = std::max(top, covered ? 1 : column_norm(heads.back().a));  // rows of A sum to 1
    }
  Tensor result = empty(v.shape(), kFloat64, kCpu);
  for (std::size_t number = 0; number < heads.size(); ++number) {
    const Head& head = heads[number];
    const Index b = static_cast<Index>(number) / q.dim(1), h = static_cast<Index>(number) % q.dim(1);
    Matrix out;
    if (is_covered(head, mask.defined(), config)) {
      out = product(whole_softmax(head, scale), head.v, v.dim(3));
    } else {
      const double norm = config.pinv_start == nn::PinvStart::exact ? column_norm(head.a) : top;
      out = approximated(head, pinv(head.a, 1 / norm, config.pinv_iterations), scale, config);
    }
    if (taps.defined()) add_convolution(head, doubles(taps), h, config, out);
    for (Index i = 0; i < v.dim(2); ++i)
      for (Index c = 0; c < v.dim(3); ++c) {
        const std::size_t row = head.front + static_cast<std::size_t>(i);
        const bool hidden = config.mask == NystromMask::isolated && !head.real[row];
        result.view<double, 4>()(b, h, i, c) = hidden ? 0 : out[row][static_cast<std::size_t>(c)];
      }
  }
  return result;
}

}  // namespace subquad::test::slow
