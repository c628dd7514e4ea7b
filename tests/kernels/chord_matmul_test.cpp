#include "subquad/kernels/chord_matmul/chord_matmul.h"

#include <limits>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/tests/kernels/chord_matmul_cases.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using namespace chord_cases;
using kernels::Links;
using kernels::MixResidual;

struct Inputs {
  Tensor weights, values, dout;
};

Inputs make_inputs(const ChordCase& c, DType dtype) {
  return {normal(c.weights_shape(), dtype, 1), normal(c.values_shape(), dtype, 2), normal(c.values_shape(), dtype, 3)};
}

struct Results {
  Tensor out;
  kernels::ChordGrads grads;
  std::vector<Tensor> all() const { return {out, grads.dweights, grads.dvalues}; }
};

Results run(const ChordCase& c, const Inputs& in) {
  const kernels::ChordChain chain = kernels::chord_chain(in.weights, in.values, c.links, c.residual, c.mask(), true);
  return {chain.out,
          kernels::chord_chain_grad(in.dout, in.weights, in.values, chain.kept, c.links, c.residual, c.mask())};
}

// Sums of `count` products, factor after factor, of numbers that grow.
double tolerance(const ChordCase& c, DType dtype) {
  return dot_tolerance(dtype, (c.links.front().count() + c.width) * static_cast<Index>(c.links.size()));
}

bool same(const Results& a, const Results& b) {
  const std::vector<Tensor> x = a.all(), y = b.all();
  return same_bits(x[0], y[0]) && same_bits(x[1], y[1]) && same_bits(x[2], y[2]);
}

// x with `value` at the padded positions of every sample; positions are axis `axis`, samples the one before.
Tensor with_padding(const Tensor& x, const ChordCase& c, int axis, double value) {
  Tensor out = x.clone();
  for (Index b = 0; b < c.batch; ++b) {
    Tensor padding = out.select(axis - 1, b).slice(axis - 1, c.lengths[static_cast<std::size_t>(b)], c.positions);
    fill(padding, value);
  }
  return out;
}

}  // namespace

TEST_CASE("chord_chain equals dense matrices") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const ChordCase& c : cases()) {
        CAPTURE(c);
        CAPTURE(dtype);
        const Inputs in = make_inputs(c, dtype);
        const Expected want = slow_chain(c, in.weights, in.values, in.dout);
        const Results got = run(c, in);
        CHECK_CLOSE(got.out, want.out, tolerance(c, dtype));
        CHECK_CLOSE(got.grads.dweights, want.dweights, tolerance(c, dtype));
        CHECK_CLOSE(got.grads.dvalues, want.dvalues, tolerance(c, dtype));
        CHECK(same_bits(kernels::chord_chain(in.weights, in.values, c.links, c.residual, c.mask()).out, got.out));
      }
    });
  });
}

TEST_CASE("chord_matmul is a chain of one factor") {
  for (const ChordCase& c : cases()) {
    if (c.links.size() != 1 || c.residual == MixResidual::fixed) continue;
    CAPTURE(c);
    const Inputs in = make_inputs(c, kFloat32);
    const Results want = run(c, in);
    const bool residual = c.residual == MixResidual::running;
    const Tensor weights = in.weights.squeeze(0);
    CHECK(same_bits(kernels::chord_matmul(weights, in.values, c.links[0], c.mask(), residual), want.out));
    const auto grads = kernels::chord_matmul_grad(in.dout, weights, in.values, c.links[0], c.mask(), residual);
    CHECK(same_bits(grads.dvalues, want.grads.dvalues));
    CHECK(grads.dweights.shape() == weights.shape());
    CHECK(same_bits(grads.dweights, want.grads.dweights.squeeze(0)));
  }
}

// Slices of every width that the CUDA kernel of a whole chain knows, the narrowest also as the last of two, and a
// sample that does not fit into shared memory.
TEST_CASE("chord_chain equals chord_matmul factor by factor") {
  for (const ChordCase& c : {ChordCase{.batch = 34, .positions = 3, .width = 128, .links = chord(2)},
                             ChordCase{.batch = 34, .positions = 3, .width = 64, .links = chord(2)},
                             ChordCase{.batch = 3, .positions = 40, .width = 6, .links = cdil(3, 5)},
                             ChordCase{.batch = 1, .positions = 7500, .width = 4, .links = butterfly(2)}}) {
    CAPTURE(c);
    const Inputs in = make_inputs(c, kFloat32);
    const kernels::ChordChain chain =
        kernels::chord_chain(in.weights, in.values, c.links, MixResidual::running, {}, true);
    const auto got =
        kernels::chord_chain_grad(in.dout, in.weights, in.values, chain.kept, c.links, MixResidual::running);
    const Index factors = c.weights_shape()[0];
    std::vector<Tensor> v = {in.values};
    for (Index m = 0; m < factors; ++m)
      v.push_back(
          kernels::chord_matmul(in.weights.select(0, m), v.back(), c.links[static_cast<std::size_t>(m)], {}, true));
    CHECK(same_bits(chain.out, v.back()));
    CHECK(same_bits(kernels::chord_chain(in.weights, in.values, c.links, MixResidual::running).out, v.back()));
    Tensor up = in.dout;
    for (Index m = factors - 1; m >= 0; --m) {
      const auto at = static_cast<std::size_t>(m);
      if (m > 0) CHECK(same_bits(chain.kept.select(0, m - 1), v[at]));
      const auto want = kernels::chord_matmul_grad(up, in.weights.select(0, m), v[at], c.links[at], {}, true);
      CHECK(same_bits(got.dweights.select(0, m), want.dweights));
      up = want.dvalues;
    }
    CHECK(same_bits(got.dvalues, up));
  }
}

// On the CPU 32 MiB go past its caches, while the next factor reads another copy.
TEST_CASE("chord_chain keeps what does not fit into the caches") {
  if (!device().is_cpu()) return;
  for (const std::vector<Links>& links : {butterfly(9), chord(9)}) {
    const ChordCase c{.batch = 1,
                      .positions = 16384,
                      .width = 64,
                      .links = links,
                      .residual = MixResidual::running,
                      .lengths = {16001}};
    CAPTURE(c);
    const Inputs in = make_inputs(c, kFloat32);
    const kernels::ChordChain chain = kernels::chord_chain(in.weights, in.values, c.links, c.residual, c.mask(), true);
    Tensor v = in.values;
    for (std::size_t m = 0; m < c.links.size(); ++m) {
      v = kernels::chord_matmul(in.weights.select(0, static_cast<Index>(m)), v, c.links[m], c.mask(), true);
      CHECK(same_bits(m + 1 < c.links.size() ? chain.kept.select(0, static_cast<Index>(m)) : chain.out, v));
    }
    CHECK(same_bits(kernels::chord_chain(in.weights, in.values, c.links, c.residual, c.mask()).out, v));
  }
}

TEST_CASE("butterfly_matmul links i and i XOR distance") {
  const ChordCase c{.positions = 11, .links = {kernels::butterfly_links(4)}, .lengths = {11, 6}};
  const Inputs in = make_inputs(c, kFloat64);
  CHECK_CLOSE(kernels::butterfly_matmul(in.weights.squeeze(0), in.values, 4, c.mask()),
              slow_chain(c, in.weights, in.values, in.dout).out, dot_tolerance(kFloat64, 2));
}

TEST_CASE("links: CHORD, CDIL and butterfly as the papers count them") {
  CHECK(kernels::chord_links(5).offsets == std::vector<Index>{0, 1, 2, 4, 8});
  CHECK(kernels::cdil_links(2, 5).offsets == std::vector<Index>{0, 2, 4, -2, -4});
  CHECK(kernels::butterfly_links(8).offsets == std::vector<Index>{0, 8});
  CHECK(kernels::linked_column(kernels::butterfly_links(8), 3, 1, 11) == -1);
  CHECK(kernels::linked_column({kernels::LinkRule::circular, {-23}}, 2, 0, 5) == 4);
  CHECK_THROWS_WITH_AS(kernels::chord_links(0), "chord_links: count is 0, expected 1 to 63", Error);
  CHECK_THROWS_WITH_AS(kernels::cdil_links(1, 4),
                       "cdil_links: count is 4, expected an odd number: the position itself and as many on either side",
                       Error);
  CHECK_THROWS_WITH_AS(kernels::cdil_links(0, 3), "cdil_links: dilation is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(kernels::butterfly_links(6), "butterfly_links: distance is 6, expected a power of two", Error);
}

TEST_CASE("chord_matmul with every offset is a dense product") {
  const Index n = 12;
  Links all;
  for (Index o = 0; o < n; ++o) all.offsets.push_back(o);
  const ChordCase c{.positions = n, .width = 5, .links = {all}};
  const Inputs in = make_inputs(c, kFloat64);
  const Tensor got = kernels::chord_matmul(in.weights.squeeze(0), in.values, all);
  Tensor want = zeros(c.values_shape(), kFloat64, kCpu);
  for (Index b = 0; b < c.batch; ++b)
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j)
        for (Index d = 0; d < c.width; ++d)
          want.data<double>()[(b * n + i) * c.width + d] +=
              at(in.weights, {0, b, i, (j - i + n) % n}) * at(in.values, {b, j, d});
  CHECK_CLOSE(got, want, dot_tolerance(kFloat64, n));
}

TEST_CASE("chord_chain does not see what stands at padded positions, not even NaN") {
  for_each_simd_target([] {
    for (const ChordCase& c : cases()) {
      if (c.lengths.empty()) continue;
      CAPTURE(c);
      const Inputs clean = make_inputs(c, kFloat32);
      const double nan = std::numeric_limits<double>::quiet_NaN();
      const Inputs dirty = {c.shared ? clean.weights : with_padding(clean.weights, c, 2, nan),
                            with_padding(clean.values, c, 1, nan), with_padding(clean.dout, c, 1, nan)};
      const Results got = run(c, dirty);
      CHECK(same(got, run(c, clean)));
      CHECK(same_bits(got.out, with_padding(got.out, c, 1, 0)));
      CHECK(same_bits(got.grads.dvalues, with_padding(got.grads.dvalues, c, 1, 0)));
      if (!c.shared) CHECK(same_bits(got.grads.dweights, with_padding(got.grads.dweights, c, 2, 0)));
    }
  });
}

TEST_CASE("chord_chain depends neither on the amount of padding nor on the rest of the batch") {
  const std::vector<Index> lengths = {150, 64, 7};
  for (const auto& links : {chord(4), cdil(4, 9), butterfly(8)}) {
    const ChordCase c{.batch = 3,
                      .positions = 170,
                      .width = 20,
                      .links = links,
                      .residual = MixResidual::running,
                      .lengths = lengths};
    const Inputs in = make_inputs(c, kFloat32);
    const Results all = run(c, in);
    for (Index b = 0; b < 3; ++b) {
      const Index n = lengths[static_cast<std::size_t>(b)];
      const auto rows = [&](const Tensor& t) { return t.slice(0, b, b + 1).slice(1, 0, n).contiguous(); };
      const auto weight_rows = [&](const Tensor& t) { return t.slice(1, b, b + 1).slice(2, 0, n).contiguous(); };
      ChordCase alone = c;
      alone.batch = 1, alone.positions = n, alone.lengths.clear();
      const Results one = run(alone, {weight_rows(in.weights), rows(in.values), rows(in.dout)});
      CHECK(same(one, {rows(all.out), {weight_rows(all.grads.dweights), rows(all.grads.dvalues)}}));
    }
  }
}

TEST_CASE("chord_chain gives the same bits for any number of threads") {
  const Index n = interpreted() ? 70 : 700;
  for (const Index batch : {1, 3, 12}) {
    const ChordCase c{.batch = batch, .positions = n, .width = 40, .links = chord(5), .residual = MixResidual::fixed};
    const Inputs in = make_inputs(c, kFloat32);
    CHECK(same_for_any_thread_count([&] { return run(c, in).all(); }));
  }
}

TEST_SUITE("cpu") {
  // 8 MiB and more are written by streaming stores. Columns do not know of each other: a quarter of them, which is not
  // enough for that, has the same bits.
  TEST_CASE("chord_chain gives the same bits for matrices that are written past the caches") {
    for_each_simd_target([] {
      const ChordCase c{
          .batch = 1, .positions = 1100, .width = 2048, .links = chord(3), .residual = MixResidual::running};
      const Inputs in = make_inputs(c, kFloat32);
      const Results all = run(c, in);
      for (Index first = 0; first < c.width; first += c.width / 4) {
        const auto quarter = [&](const Tensor& t) { return t.slice(2, first, first + c.width / 4).contiguous(); };
        ChordCase part = c;
        part.width = c.width / 4;
        const Results got = run(part, {in.weights, quarter(in.values), quarter(in.dout)});
        CHECK(same_bits(quarter(all.out), got.out));
        CHECK(same_bits(quarter(all.grads.dvalues), got.grads.dvalues));
      }
    });
  }
}

TEST_CASE("chord_chain holds its V_m and nothing else of their size per link") {
  const Index n = interpreted() ? 512 : 4096;
  const ChordCase c{.batch = 2, .positions = n, .width = 32, .links = chord(12)};
  const Inputs in = make_inputs(c, kFloat32);
  const auto size = static_cast<std::size_t>(n);
  const std::size_t values = sizeof(float) * 2 * size * 32, weights = sizeof(float) * 12 * 2 * size * 13;
  const bool cpu = device().is_cpu();
  reset_peak_memory(device());
  const std::size_t before = memory_stats(device()).current_bytes;
  const Results got = run(c, in);
  const std::size_t peak = memory_stats(device()).peak_bytes - before;
  // dweights; out, dvalues, V_1 ... V_11, and two of one sample at a time; or the gradients of V_1 ... V_11, and
  // weights
  CHECK(peak < (cpu ? 1 : 2) * weights + (cpu ? 15 : 25) * values);
}

TEST_CASE("chord_matmul names the argument that does not fit") {
  const auto t = [](const Shape& shape, DType dtype = kFloat32) { return zeros(shape, dtype, kCpu); };
  const Tensor w = t({2, 16, 4}), v = t({2, 16, 8});
  CHECK_THROWS_WITH_AS(kernels::chord_matmul(w, v, kernels::chord_links(5)),
                       "chord_matmul: weights is [2, 16, 4] float32 cpu, expected [2, 16, 5] = [B, N, L] or, shared by "
                       "all samples, [16, 5] for values [2, 16, 8] and 5 links",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      kernels::chord_chain(w, v, chord(3), MixResidual::none),
      "chord_chain: weights is [2, 16, 4] float32 cpu, expected [3, 2, 16, 4] = [M, B, N, L] or, shared "
      "by all samples, [3, 16, 4] for values [2, 16, 8] and 4 links",
      ShapeError);
  CHECK_THROWS_WITH_AS(kernels::chord_matmul(w, t({2, 16}), kernels::chord_links(4)),
                       "chord_matmul: values is [2, 16] float32 cpu, expected rank 3", ShapeError);
  CHECK_THROWS_AS(kernels::chord_matmul(t({2, 16, 4}, kFloat64), v, kernels::chord_links(4)), DTypeError);
  CHECK_THROWS_AS(kernels::chord_matmul(w, t({2, 16, 8}, kInt64), kernels::chord_links(4)), DTypeError);
  CHECK_THROWS_WITH_AS(kernels::chord_chain(w, v, {}, MixResidual::none),
                       "chord_chain: links has no factor, expected at least one", Error);
  CHECK_THROWS_WITH_AS(kernels::chord_matmul(w, v, Links{}),
                       "chord_matmul: links is empty, expected at least one link per row", Error);
  CHECK_THROWS_WITH_AS(
      kernels::chord_chain(w, v, {kernels::chord_links(4), kernels::chord_links(3)}, MixResidual::none),
      "chord_chain: links has factors of 4 and of 3 links, expected as many in each", Error);
  CHECK_THROWS_WITH_AS(kernels::butterfly_matmul(t({2, 16, 2}), v, 3),
                       "butterfly_links: distance is 3, expected a power of two", Error);
  const Tensor holes = tensor<bool>({false, true, true, true}, {1, 4});
  CHECK_THROWS_WITH_AS(
      kernels::chord_matmul(t({1, 4, 2}), t({1, 4, 3}), kernels::chord_links(2), Mask::from_bool(holes)),
      "chord_matmul: mask has padding before real positions, expected every sample's real ones first (compact moves "
      "them there)",
      Error);
  CHECK_THROWS_AS(kernels::chord_matmul(w, v, kernels::chord_links(4), Mask::from_lengths(tensor<Index>({5}, {1}), 5)),
                  ShapeError);
  CHECK_THROWS_WITH_AS(kernels::chord_matmul_grad(t({2, 16, 7}), w, v, kernels::chord_links(4)),
                       "chord_matmul_grad: dout is [2, 16, 7] float32 cpu, expected shape [2, 16, 8]", ShapeError);
  CHECK_THROWS_AS(kernels::chord_chain_grad(v, t({2, 2, 16, 4}), v, t({2, 2, 16, 8}),
                                            {kernels::chord_links(4), kernels::chord_links(4)}, MixResidual::none),
                  ShapeError);
}

}  // namespace subquad::test
