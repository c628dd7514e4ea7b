#include "subquad/kernels/matmul/matmul.h"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "subquad/core/allocator.h"
#include "subquad/core/graph.h"
#include "subquad/core/parallel.h"
#include "subquad/core/precision.h"
#include "subquad/core/runtime.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

using kernels::matmul;
using kernels::matmul_into;

namespace {

// alpha a b + beta c, in double, one element after the other. Batch dimensions broadcast.
Tensor slow_matmul(const Tensor& a, const Tensor& b, double alpha = 1, double beta = 0, const Tensor& c = {}) {
  const Tensor x = doubles(a), y = doubles(b), start = c.defined() ? doubles(c) : Tensor();
  const Index m = a.dim(-2), k = a.dim(-1), n = b.dim(-1);
  Shape batch_a(std::vector<Index>(a.shape().begin(), a.shape().end() - 2));
  Shape batch_b(std::vector<Index>(b.shape().begin(), b.shape().end() - 2));
  Shape shape = broadcast_shapes("slow_matmul", batch_a, batch_b);
  Shape batch = shape;
  shape.push_back(m);
  shape.push_back(n);
  Tensor out = zeros(shape, kFloat64, kCpu);

  const auto item_of = [&](const Shape& operand, Index item) {  // which matrix of an operand stands at this batch item
    Index at = 0, scale = 1;
    for (int d = batch.rank() - 1, e = operand.rank() - 1; d >= 0; --d, --e) {
      const Index index = item % batch[d];
      item /= batch[d];
      if (e < 0) continue;
      at += (operand[e] == 1 ? 0 : index) * scale;
      scale *= operand[e];
    }
    return at;
  };
  for (Index item = 0; item < batch.size(); ++item) {
    const double* left = x.data<double>() + item_of(batch_a, item) * m * k;
    const double* right = y.data<double>() + item_of(batch_b, item) * k * n;
    double* to = out.data<double>() + item * m * n;
    for (Index i = 0; i < m; ++i) {
      for (Index j = 0; j < n; ++j) {
        double sum = 0;
        for (Index p = 0; p < k; ++p) sum += left[i * k + p] * right[p * n + j];
        to[i * n + j] = alpha * sum + (beta != 0 ? beta * start.data<double>()[(item * m + i) * n + j] : 0);
      }
    }
  }
  return out;
}

struct Sizes {
  Shape a;
  Shape b;
};

std::vector<Sizes> sizes() {
  std::vector<Sizes> out;
  for (const Index m : {0, 1, 2, 7, 17}) {
    for (const Index n : {0, 1, 3, 13}) {
      for (const Index k : {0, 1, 5, 31}) out.push_back({{m, k}, {k, n}});
    }
  }
  const std::vector<Sizes> batches = {{{4, 11, 7}, {4, 7, 5}},              // a batch
                                      {{4, 11, 7}, {7, 5}},                 // a shared right operand: one tall product
                                      {{11, 7}, {4, 7, 5}},                 // a shared left operand
                                      {{2, 1, 11, 7}, {3, 7, 5}},           // [2, 1] and [3] broadcast to [2, 3]
                                      {{2, 3, 11, 7}, {1, 1, 7, 5}},        // ones stand for all
                                      {{0, 11, 7}, {7, 5}},                 // an empty batch
                                      {{0, 11, 7}, {0, 7, 5}},              //
                                      {{2, 3, 1, 1, 7}, {2, 1, 4, 7, 1}}};  // rank 5
  const std::vector<Sizes> cut_on_cpu = {{{191, 67}, {67, 383}},            // one piece, the last uncut sizes
                                         {{193, 33}, {33, 129}},            // rows in two pieces
                                         {{1601, 19}, {19, 21}},            // rows in more
                                         {{193, 3}, {3, 4099}},             // rows and columns in pieces
                                         {{5, 64}, {64, 769}},              // columns alone in pieces
                                         {{37, 2053}, {2053, 41}},          // depth in pieces, added up
                                         {{200, 2053}, {2053, 3}},          // depth and rows
                                         {{3, 2053}, {2053, 400}},          // depth and columns
                                         {{3, 9999}, {9999, 1}}};           // a long dot product per element
  out.insert(out.end(), batches.begin(), batches.end());
  if (interpreted()) return out;
  out.insert(out.end(), cut_on_cpu.begin(), cut_on_cpu.end());
  for (const Index m : {3, 4, 31, 32, 33, 65}) {  // from BLAS to tiles; every height of tile, whole and part vectors
    for (const Index n : {15, 16, 17, 32, 47, 65}) {
      for (const Index k : {7, 8}) out.push_back({{m, k}, {k, n}});
    }
  }
  for (const Index k : {255, 256, 257, 513}) out.push_back({{37, k}, {k, 64}});  // panels of terms
  out.push_back({{66, 300}, {300, 64}});                                         // panels packed
  out.push_back({{2, 70, 300}, {2, 300, 49}});
  out.push_back({{3, 40}, {40, 40}});  // for the BLAS again
  return out;
}

Tensor transposed_copy(const Tensor& t) {  // the same values, stored column by column
  return t.transpose(-2, -1).clone().transpose(-2, -1);
}

// Runs f and says how many blocks of memory it asked for. (The first product of a GPU makes room for cuBLAS: let it not
// be in f.)
template <class F>
std::uint64_t allocations_of(F&& f) {
  const std::uint64_t before = memory_stats(device()).allocations;
  f();
  return memory_stats(device()).allocations - before;
}

}  // namespace

TEST_CASE("matmul equals the triple loop") {
  for_each_float([](DType dtype) {
    for (const Sizes& s : sizes()) {
      CAPTURE(dtype);
      CAPTURE(s.a);
      CAPTURE(s.b);
      const Tensor a = normal(s.a, dtype, 1), b = normal(s.b, dtype, 2);
      const double tolerance = dot_tolerance(dtype, a.dim(-1));
      const Tensor expected = slow_matmul(a, b);
      CHECK_CLOSE(matmul(a, b), expected, tolerance);
      CHECK_CLOSE(matmul(transposed_copy(a), b), expected, tolerance);
      CHECK_CLOSE(matmul(a, transposed_copy(b)), expected, tolerance);
      CHECK_CLOSE(matmul(transposed_copy(a), transposed_copy(b)), expected, tolerance);
    }
  });
}

TEST_CASE("matmul reads views where they lie") {
  for_each_float([](DType dtype) {
    const Tensor heads = normal({2, 9, 3, 8}, dtype, 1);  // [B, N, H, E]
    const Tensor q = heads.transpose(1, 2);               // [B, H, N, E]: rows with gaps
    const Tensor wide = normal({40, 50}, dtype, 2);
    const Tensor block = wide.slice(0, 3, 11).slice(1, 7, 20);              // [8, 13], rows of 50
    const Tensor shared = normal({1, 8, 13}, dtype, 3).expand({4, 8, 13});  // batch stride 0
    const Tensor vector = normal({9}, dtype, 4);
    const double tolerance = dot_tolerance(dtype, 50);

    Tensor out = matmul(wide.transpose(0, 1), wide);
    CHECK_EQ(allocations_of([&] { out = matmul(q, q.transpose(-2, -1)); }), 1);
    CHECK_CLOSE(out, slow_matmul(q, q.transpose(-2, -1)), tolerance);
    CHECK_EQ(allocations_of([&] { out = matmul(q, block); }), 1);
    CHECK_CLOSE(out, slow_matmul(q, block), tolerance);
    CHECK_EQ(allocations_of([&] { out = matmul(block.transpose(0, 1), block); }), 1);
    CHECK_CLOSE(out, slow_matmul(block.transpose(0, 1), block), tolerance);
    CHECK_EQ(allocations_of([&] { out = matmul(shared.transpose(1, 2), block); }), 1);
    CHECK_CLOSE(out, slow_matmul(shared.transpose(1, 2), block), tolerance);
    CHECK_EQ(allocations_of([&] { out = matmul(vector.unsqueeze(1), vector.unsqueeze(0)); }), 1);
    CHECK_CLOSE(out, slow_matmul(vector.unsqueeze(1), vector.unsqueeze(0)), tolerance);
  });
}

TEST_CASE("matmul copies an operand of another layout, and only that one") {
  const Tensor a = normal({10, 12}, kFloat32, 1), b = normal({6, 5}, kFloat32, 2);
  const Tensor every_other = a.slice(1, 0, 12, 2);            // [10, 6], column stride 2
  const Tensor rows_again = b.slice(0, 0, 1).expand({6, 5});  // row stride 0
  Tensor out = matmul(b.transpose(0, 1), b);
  CHECK_EQ(allocations_of([&] { out = matmul(every_other, b); }), 2);
  CHECK_CLOSE(out, slow_matmul(every_other, b), dot_tolerance(kFloat32, 6));
  CHECK_EQ(allocations_of([&] { out = matmul(every_other, rows_again); }), 3);
  CHECK_CLOSE(out, slow_matmul(every_other, rows_again), dot_tolerance(kFloat32, 6));
}

TEST_CASE("matmul_into scales, accumulates and writes into parts") {
  for_each_float([](DType dtype) {
    for (const Sizes& s : sizes()) {
      CAPTURE(s.a);
      CAPTURE(s.b);
      const Tensor a = normal(s.a, dtype, 1), b = normal(s.b, dtype, 2);
      const double tolerance = dot_tolerance(dtype, a.dim(-1));
      const Tensor start = normal(slow_matmul(a, b).shape(), dtype, 3);
      Tensor out = start.clone();
      matmul_into(a, b, out, 0.5, -2);
      CHECK_CLOSE(out, slow_matmul(a, b, 0.5, -2, start), 3 * tolerance);

      Tensor poisoned = empty_like(start);
      fill(poisoned, std::numeric_limits<double>::quiet_NaN());
      matmul_into(a, b, poisoned);
      CHECK_CLOSE(poisoned, slow_matmul(a, b), tolerance);
    }
    const Tensor a = normal({2, 6, 7}, dtype, 1), b = normal({7, 5}, dtype, 2);
    Tensor whole = full({2, 6, 9}, 42, dtype, device());
    Tensor part = whole.slice(2, 1, 6);
    const std::uint32_t version = part.version();
    matmul_into(a, b, part);
    CHECK_EQ(part.version(), version + 1);
    CHECK_CLOSE(part, slow_matmul(a, b), dot_tolerance(dtype, 7));
    CHECK_CLOSE(whole.slice(2, 0, 1), full({2, 6, 1}, 42, dtype, kCpu), 0);
    CHECK_CLOSE(whole.slice(2, 6, 9), full({2, 6, 3}, 42, dtype, kCpu), 0);
  });
}

TEST_SUITE("cpu") {
  // Both factors are packed, in blocks of 14 or 6 rows, of 512 terms, of 256 or 128 columns.
  TEST_CASE("matmul of large matrices equals the triple loop") {
    for_each_float([](DType dtype) {
      for (const auto& [m, k, n] : std::vector<std::array<Index, 3>>{
               {65, 512, 2048}, {70, 513, 2049}, {71, 1023, 1030}, {84, 2047, 513}, {83, 1025, 1039}}) {
        CAPTURE(m);
        const Tensor a = normal({m + 1, k + 3}, dtype, 1).slice(0, 1, m + 1).slice(1, 2, k + 2);  // rows with gaps
        const Tensor b = normal({k, n + 5}, dtype, 2).slice(1, 3, n + 3);
        const double tolerance = dot_tolerance(dtype, k);
        const Tensor expected = slow_matmul(a, b);
        CHECK_CLOSE(matmul(transposed_copy(a), transposed_copy(b)), expected, tolerance);
        Tensor whole = full({m + 2, n + 2}, 42, dtype, kCpu), part = whole.slice(0, 1, m + 1).slice(1, 1, n + 1);
        fill(part, std::numeric_limits<double>::quiet_NaN());
        matmul_into(a, b, part);
        CHECK_CLOSE(part, expected, tolerance);
        matmul_into(a, b, part, -0.5, 2);
        CHECK_CLOSE(part, slow_matmul(a, b, 1.5), 3 * tolerance);
        fill(part, 42);
        CHECK_CLOSE(whole, full({m + 2, n + 2}, 42, dtype, kCpu), 0);  // nothing beside it was written
      }
    });
  }

  TEST_CASE("matmul of large matrices: how rows and columns are cut does not change a bit") {
    if (simd_target() == "scalar") return;  // there a BLAS does them
    const Tensor a = normal({2300, 700}, kFloat32, 1), b = normal({700, 1600}, kFloat32, 2);
    const Tensor whole = matmul(a, b);
    CHECK(same_bits(matmul(a.slice(0, 1000, 1300), b), whole.slice(0, 1000, 1300).contiguous()));
    CHECK(same_bits(matmul(a.slice(0, 0, 201), b.slice(1, 31, 1560)),
                    whole.slice(0, 0, 201).slice(1, 31, 1560).contiguous()));
    CHECK_CLOSE(whole.slice(0, 2200, 2300), slow_matmul(a.slice(0, 2200, 2300), b), dot_tolerance(kFloat32, 700));
  }

  TEST_CASE("matmul gives the same bits with any number of threads") {
    const int before = num_threads();
    for_each_float([](DType dtype) {
      for (const Sizes& s : std::vector<Sizes>{{{512, 512}, {512, 512}},
                                               {{7, 512}, {512, 1000}},
                                               {{64, 9001}, {9001, 64}},
                                               {{6, 130, 64}, {6, 64, 130}},
                                               {{3, 301, 100}, {100, 777}},
                                               {{1100, 1030}, {1030, 1100}}}) {
        CAPTURE(s.a);
        CAPTURE(s.b);
        const Tensor a = normal(s.a, dtype, 1), b = normal(s.b, dtype, 2);
        set_num_threads(1);
        const Tensor one = matmul(a, b);
        for (const int threads : {2, 3, 8}) {
          set_num_threads(threads);
          CHECK(same_bits(matmul(a, b), one));
        }
      }
    });
    set_num_threads(before);
  }
}

// On CUDA batches of small matrices take a kernel of ours: tiles of 64, 32 terms at a time, any layout.
TEST_CASE("matmul of heads that lie between positions") {
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    const PrecisionGuard guard(precision);
    const double unit = device().is_cpu() || precision == Precision::fp32 ? 0
                        : precision == Precision::tf32                    ? 0x1p-10
                                                                          : 0x1p-7;
    for (const auto& [m, n, k] :
         std::vector<std::array<Index, 3>>{{64, 32, 64}, {65, 7, 33}, {3, 70, 1}, {128, 5, 100}}) {
      CAPTURE(m);
      const Tensor a = uniform({2, 3, m, k}, kFloat32, 0, 1, 1);
      const Tensor b = uniform({2, k, 3, n}, kFloat32, 0, 1, 2).transpose(1, 2);
      const Tensor want = matmul(doubles(a), doubles(b));
      CHECK_CLOSE(matmul(a, b), want, unit + dot_tolerance(kFloat32, k));
      CHECK_CLOSE(matmul(b.transpose(2, 3), a.transpose(2, 3)), want.transpose(2, 3),
                  unit + dot_tolerance(kFloat32, k));
      CHECK(same_bits(matmul(a, b), matmul(a, b)));
      CHECK(same_bits(matmul(a.slice(0, 1, 2), b.slice(0, 1, 2)), matmul(a, b).slice(0, 1, 2)));
      Tensor sum = full({2, 3, m, n}, 1, kFloat32, device());
      kernels::matmul_into(a, b, sum, -0.5, 2);
      Tensor half = doubles(want).clone();
      for (double& x : half.span<double>()) x = 2 - 0.5 * x;
      CHECK_CLOSE(sum, half, unit + dot_tolerance(kFloat32, k));
    }
  }
}

TEST_CASE("matmul gives the same bits every time") {
  for_each_float([](DType dtype) {
    const Tensor a = normal({3, 40, 600}, dtype, 1), b = normal({600, 50}, dtype, 2);
    CHECK(same_bits(matmul(a, b), matmul(a, b)));
  });
}

TEST_CASE("matmul of big matrices: a random projection") {
  const Index m = interpreted() ? 300 : 1500, k = interpreted() ? 140 : 700, n = interpreted() ? 220 : 1100;
  const Tensor a = normal({m, k}, kFloat32, 1), b = normal({k, n}, kFloat32, 2);
  const Tensor u = normal({n, 2}, kFloat32, 3);
  CHECK_CLOSE(matmul(matmul(a, b), u), slow_matmul(a, slow_matmul(b, u)), 30 * dot_tolerance(kFloat32, n));
}

TEST_CASE("matmul walks batches that lie at no single distance") {
  for_each_float([](DType dtype) {
    const Tensor heads = normal({2, 9, 3, 8}, dtype, 1).transpose(1, 2);  // [B, H, N, E] in memory [B, N, H, E]
    const Tensor three = normal({3, 4, 2, 5, 8}, dtype, 2).permute({2, 0, 1, 3, 4});  // [2, 3, 4, 5, 8], out of order
    const Tensor middle = normal({2, 1, 4, 8, 6}, dtype, 3);  // broadcast between two dimensions
    const double tolerance = dot_tolerance(dtype, 9);
    CHECK_CLOSE(matmul(heads, heads.transpose(-2, -1)), slow_matmul(heads, heads.transpose(-2, -1)), tolerance);
    CHECK_CLOSE(matmul(three, middle), slow_matmul(three, middle), tolerance);
    Tensor whole = full({3, 2, 9, 9}, 42, dtype, device());
    Tensor out = whole.transpose(0, 1);  // [2, 3, 9, 9], batch dimensions out of order
    matmul_into(heads, heads.transpose(-2, -1), out);
    CHECK_CLOSE(out, slow_matmul(heads, heads.transpose(-2, -1)), tolerance);
  });
}

TEST_CASE("matmul complains about shapes, dtypes and undefined arguments") {
  const Tensor a = zeros({4, 5}, kFloat32, kCpu), b = zeros({6, 7}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(matmul(a, b),
                       "matmul: a is [4, 5] float32 cpu and b is [6, 7] float32 cpu, expected [..., M, K] and "
                       "[..., K, N]: K is 5 here and 6 there",
                       ShapeError);
  CHECK_THROWS_WITH_AS(matmul(a, zeros({5}, kFloat32, kCpu)),
                       "matmul: a is [4, 5] float32 cpu and b is [5] float32 cpu, expected at least rank 2 of each",
                       ShapeError);
  CHECK_THROWS_WITH_AS(matmul(a, zeros({5, 7}, kFloat64, kCpu)),
                       "matmul: b is [5, 7] float64 cpu, expected float32 like a", DTypeError);
  CHECK_THROWS_WITH_AS(matmul(zeros({4, 5}, kInt32, kCpu), b),
                       "matmul: a is [4, 5] int32 cpu, expected float32 or float64", DTypeError);
  CHECK_THROWS_WITH_AS(matmul(Tensor(), b), "matmul: a is undefined", Error);
  CHECK_THROWS_AS(matmul(zeros({2, 4, 5}, kFloat32, kCpu), zeros({3, 5, 6}, kFloat32, kCpu)), ShapeError);

  const Tensor c = zeros({5, 7}, kFloat32, kCpu);
  Tensor wrong = zeros({4, 8}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(matmul_into(a, c, wrong), "matmul: out is [4, 8] float32 cpu, expected shape [4, 7]",
                       ShapeError);
  Tensor columns = zeros({7, 4}, kFloat32, kCpu).transpose(0, 1);
  CHECK_THROWS_WITH_AS(matmul_into(a, c, columns),
                       "matmul: out is [4, 7] float32 cpu with strides [1, 4], expected row-major matrices that do not "
                       "overlap",
                       ShapeError);
  Tensor repeated = zeros({4, 7}, kFloat32, kCpu).expand({2, 4, 7});
  CHECK_THROWS_AS(matmul_into(zeros({2, 4, 5}, kFloat32, kCpu), c, repeated), ShapeError);
  if (!device().is_cpu()) CHECK_THROWS_AS(matmul(here(a), c), DeviceError);
}

namespace {

// x with every element rounded to the nearest bfloat16.
Tensor as_bfloat16(const Tensor& x) {
  return x.to(kCpu).to(kBFloat16).to(kFloat64);
}

Tensor magnitudes(const Tensor& x) {
  Tensor out = doubles(x).clone();
  for (double& value : out.span<double>()) value = std::fabs(value);
  return out;
}

// Operands that bf16 mode converts in different ways: packs of eight, rows that packs do not divide or that start
// between two of them, gaps, transposes, dimensions that repeat.
std::vector<std::pair<Tensor, Tensor>> operands_of_any_layout() {
  const Tensor heads = normal({2, 33, 3, 24}, kFloat32, 1).transpose(1, 2);  // rows of 24 with gaps
  const Tensor wide = normal({70, 96}, kFloat32, 2);
  const Tensor deep = normal({2, 3, 2, 9, 7}, kFloat32, 3);
  return {{normal({96, 64}, kFloat32, 4), normal({64, 80}, kFloat32, 5)},
          {normal({97, 31}, kFloat32, 6), normal({31, 83}, kFloat32, 7)},
          {heads, heads.transpose(-2, -1)},
          {wide.slice(1, 8, 48), normal({40, 8}, kFloat32, 8)},
          {wide.slice(1, 3, 43), normal({8, 40}, kFloat32, 9).transpose(0, 1)},
          {wide.transpose(0, 1), wide},
          {normal({1, 40, 16}, kFloat32, 10).expand({3, 40, 16}), normal({3, 16, 20}, kFloat32, 11)},
          {deep, normal({7, 11}, kFloat32, 12)},
          {deep.transpose(0, 2), normal({2, 3, 2, 7, 5}, kFloat32, 13)},
          {normal({5, 1}, kFloat32, 14), normal({1, 1}, kFloat32, 15)},
          {normal({3, 0}, kFloat32, 16), normal({0, 4}, kFloat32, 17)}};
}

}  // namespace

TEST_CASE("matmul in bf16 rounds its operands to bfloat16 and nothing else") {
  const PrecisionGuard guard(Precision::bf16);
  for (const auto& [a, b] : operands_of_any_layout()) {
    CAPTURE(a.shape());
    CAPTURE(b.shape());
    const Tensor x = device().is_cpu() ? a : as_bfloat16(a), y = device().is_cpu() ? b : as_bfloat16(b);
    const double tolerance = dot_tolerance(kFloat32, a.dim(-1));
    const Tensor got = matmul(a, b);
    CHECK_EQ(got.dtype(), kFloat32);
    CHECK_CLOSE(got, slow_matmul(x, y), tolerance);
    Tensor again = got.clone();
    matmul_into(a, b, again, 0.5, -2);
    CHECK_CLOSE(again, slow_matmul(x, y, 0.5, -2, got), 3 * tolerance);
  }
}

// Dropping bits 11 and on of both operands, however they are rounded, changes a product by less than 2^-9 of itself.
TEST_CASE("matmul in tf32 stays within the rounding of its operands") {
  const PrecisionGuard guard(Precision::tf32);
  for (const auto& [a, b] : operands_of_any_layout()) {
    CAPTURE(a.shape());
    CAPTURE(b.shape());
    const Tensor got = doubles(matmul(a, b)), want = slow_matmul(a, b),
                 most = slow_matmul(magnitudes(a), magnitudes(b));
    double worst = 0;  // error against the sum of the products' magnitudes
    for (Index i = 0; i < want.size(); ++i) {
      const double error = std::fabs(got.data<double>()[i] - want.data<double>()[i]);
      worst = std::max(worst, error / most.data<double>()[i]);
    }
    CHECK(worst <= 0x1p-9);
    // 2^-24 would be float32, which cuBLAS is free to choose for small or unaligned matrices.
    if (!device().is_cpu() && a.shape() == Shape{96, 64}) CHECK(worst > 0x1p-15);
  }
}

TEST_CASE("matmul computes in float32 unless another precision is in use, and the CPU always does") {
  const Index n = 128;
  const Tensor a = full({n, n}, 1 + 0x1p-12, kFloat32, device()), b = full({n, n}, 1, kFloat32, device());
  const Tensor exact = full({n, n}, n * (1 + 0x1p-12), kFloat32, kCpu);  // a float32
  const Tensor rounded = full({n, n}, n, kFloat32, kCpu);
  CHECK(same_bits(matmul(a, b), exact));
  CHECK(same_bits(matmul(b, a), exact));
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    const PrecisionGuard guard(precision);
    CHECK(same_bits(matmul(a, b), device().is_cpu() ? exact : rounded));
    CHECK(same_bits(matmul(b, a), device().is_cpu() ? exact : rounded));
    const Tensor wide = full({n, n}, 1 + 0x1p-12, kFloat64, device());
    CHECK_CLOSE(matmul(wide, b.to(kFloat64)), exact.to(kFloat64), dot_tolerance(kFloat64, n));
  }
  CHECK(same_bits(matmul(a, b), exact));
}

TEST_SUITE("cuda") {  // no graphs elsewhere
  TEST_CASE("matmul in a captured graph follows its operands") {
    for (const Precision p : {Precision::fp32, Precision::bf16}) {
      const PrecisionGuard guard(p);
      Tensor a = full({4, 30, 20}, 0, kFloat32, device());
      const Tensor b = full({20, 10}, 1, kFloat32, device());
      Tensor out = matmul(a, b);  // the first product of a device must not be captured
      Graph graph = Graph::capture(device(), [&] { out = matmul(a, b); });
      for (const double value : {1, 2, 3}) {
        fill(a, value);
        graph.replay();
        CHECK_CLOSE(out, full({4, 30, 10}, 20 * value, kFloat32, kCpu), 0);
      }
    }
  }
}

}  // namespace subquad::test
