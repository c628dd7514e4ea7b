// Warp matrix instructions equal plain loops over the fragments' layout, which ptx.cuh takes from the PTX ISA.
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "subquad/core/dtype.h"
#include "subquad/kernels/warp/ptx.cuh"
#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

using namespace subquad::kernels::cuda;

// Numbers in [-1, 1) of which no more than `bits` bits of mantissa are used, so that sums are exact.
std::vector<float> numbers(std::size_t count, int bits, std::uint64_t seed) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    values[i] = static_cast<float>(static_cast<std::int64_t>(seed >> (64 - bits)) - (1 << (bits - 1))) /
                static_cast<float>(1 << (bits - 1));
  }
  return values;
}

// d [16, 8] += a [16, depth] b [depth, 8], row-major; the fragments are gathered with what ptx.cuh says of lane l.
__global__ void product_bf16(const float* a, const float* b, float* d) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto pair_a = [&](unsigned row, unsigned column) {
    return to_bf16x2(a[16 * row + column], a[16 * row + column + 1]);
  };
  const auto pair_b = [&](unsigned row) { return to_bf16x2(b[8 * row + g], b[8 * (row + 1) + g]); };
  const std::uint32_t from_a[4] = {pair_a(g, 2 * t), pair_a(g + 8, 2 * t), pair_a(g, 2 * t + 8),
                                   pair_a(g + 8, 2 * t + 8)};
  const std::uint32_t from_b[2] = {pair_b(2 * t), pair_b(2 * t + 8)};
  float* const top = d + 8 * g + 2 * t;
  float* const bottom = top + 64;
  float sums[4] = {top[0], top[1], bottom[0], bottom[1]};
  mma_bf16(sums, from_a, from_b);
  for (int i = 0; i < 2; ++i) top[i] = sums[i], bottom[i] = sums[2 + i];
}

// `litter` is put into the bits that the unit does not look at.
__global__ void product_tf32(std::uint32_t litter, const float* a, const float* b, float* d) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto operand = [=](float value) { return to_tf32(value) | litter; };
  const std::uint32_t from_a[4] = {operand(a[8 * g + t]), operand(a[8 * (g + 8) + t]), operand(a[8 * g + t + 4]),
                                   operand(a[8 * (g + 8) + t + 4])};
  const std::uint32_t from_b[2] = {operand(b[8 * t + g]), operand(b[8 * (t + 4) + g])};
  float* const top = d + 8 * g + 2 * t;
  float* const bottom = top + 64;
  float sums[4] = {top[0], top[1], bottom[0], bottom[1]};
  mma_tf32(sums, from_a, from_b);
  for (int i = 0; i < 2; ++i) top[i] = sums[i], bottom[i] = sums[2 + i];
}

std::vector<float> plain_product(int depth, const std::vector<float>& a, const std::vector<float>& b,
                                 std::vector<float> d) {
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column)
      for (int k = 0; k < depth; ++k)
        d[static_cast<std::size_t>(8 * row + column)] +=
            a[static_cast<std::size_t>(depth * row + k)] * b[static_cast<std::size_t>(8 * k + column)];
  return d;
}

// Four 8x8 matrices below each other in shared memory: element (i, row, column) is 100 i + 10 row + column.
template <bool kTransposed>
__global__ void load_matrices(std::uint16_t* out) {
  auto* const tile = shared<std::uint16_t>();
  for (unsigned k = threadIdx.x; k < 256; k += 32)
    tile[k] = static_cast<std::uint16_t>(k / 64 * 100 + k / 8 % 8 * 10 + k % 8);
  __syncwarp();
  std::uint32_t r[4];
  const std::uint16_t* const row = tile + 8 * threadIdx.x;  // lane 8i + r: row r of matrix i
  if (kTransposed)
    load_matrix_x4_transposed(r, row);
  else
    load_matrix_x4(r, row);
  std::memcpy(out + 8 * threadIdx.x, r, sizeof r);
}

__global__ void load_misaligned_rows() {
  std::uint32_t r[4];
  load_matrix_x4(r, shared<std::uint16_t>() + 8 * threadIdx.x + 4);
}
__global__ void load_rows_from(const void* row) {
  std::uint32_t r[4];
  load_matrix_x4(r, row);
}
__global__ void half_a_warp_multiplies() {
  float d[4] = {};
  const std::uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) mma_bf16(d, a, b);
}

}  // namespace

TEST_CASE("simt: mma_bf16 equals a plain loop") {
  const std::vector<float> a = numbers(16 * 16, 7, 1), b = numbers(16 * 8, 7, 2), d = numbers(16 * 8, 8, 3);
  std::vector<float> got = d;
  run(0, {1, 32}, product_bf16, a.data(), b.data(), got.data());
  CHECK(got == plain_product(16, a, b, d));
}

TEST_CASE("simt: mma_tf32 equals a plain loop and looks at the upper 19 bits only") {
  const std::vector<float> a = numbers(16 * 8, 9, 4), b = numbers(8 * 8, 9, 5), d = numbers(16 * 8, 10, 6);
  for (const std::uint32_t litter : {0u, 0x1fffu}) {
    std::vector<float> got = d;
    run(0, {1, 32}, product_tf32, litter, a.data(), b.data(), got.data());
    CHECK(got == plain_product(8, a, b, d));
  }
}

TEST_CASE("simt: tensor cores round sums towards zero") {
  const std::vector<float> b(16 * 8, 1);
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> a(16 * 16, sign * 0x1.8p-27f), d(16 * 8, sign);  // 8 of a: 3/4 of a unit of 1
    std::vector<float> got = d;
    run(0, {1, 32}, product_bf16, a.data(), b.data(), got.data());
    CHECK(got == d);
    got = d;
    run(0, {1, 32}, product_tf32, 0u, a.data(), b.data(), got.data());
    CHECK(got == d);
  }
}

TEST_CASE("simt: load_matrix_x4 hands out rows, and transposed, columns") {
  std::vector<std::uint16_t> rows(256), columns(256);
  run(0, {1, 32, 512}, load_matrices<false>, rows.data());
  run(0, {1, 32, 512}, load_matrices<true>, columns.data());
  for (unsigned lane = 0; lane < 32; ++lane)
    for (unsigned i = 0; i < 4; ++i)
      for (unsigned k = 0; k < 2; ++k) {
        const unsigned at = 8 * lane + 2 * i + k;
        CHECK(rows[at] == 100 * i + 10 * (lane / 4) + 2 * (lane % 4) + k);
        CHECK(columns[at] == 100 * i + 10 * (2 * (lane % 4) + k) + lane / 4);
      }
}

TEST_CASE("simt: matrix instructions check their rows and their lanes") {
  alignas(16) const float elsewhere[4] = {};
  CHECK_COMPLAINT("not aligned to 16", Size{1, 32, 1024}, load_misaligned_rows);
  CHECK_COMPLAINT("outside of shared memory", Size{1, 32, 1024}, load_rows_from, elsewhere);
  CHECK_COMPLAINT("mma_bf16", Size{1, 32}, half_a_warp_multiplies);
}

TEST_CASE("simt: conversions round as the instructions do") {
  const auto float_of = [](std::uint32_t bits) { return std::bit_cast<float>(bits); };
  CHECK(float_of(to_tf32(1.0f)) == 1.0f);
  CHECK(float_of(to_tf32(1.0f + 0x1p-11f)) == 1.0f + 0x1p-10f);  // a tie, away from zero
  CHECK(float_of(to_tf32(-1.0f - 0x1p-11f)) == -1.0f - 0x1p-10f);
  CHECK(float_of(to_tf32(1.0f + 0x1.ffp-12f)) == 1.0f);
  CHECK(float_of(to_tf32(INFINITY)) == INFINITY);
  for (const float x : {0.0f, -1.0f, 1.0f + 0x1p-8f, 1.0f + 0x3p-8f, 3.14159f, 1e30f, -INFINITY, NAN}) {
    const std::uint32_t both = to_bf16x2(x, 2.0f);
    CHECK((both & 0xffff) == (x != x ? 0x7fff : std::bit_cast<std::uint16_t>(subquad::BFloat16(x))));
    CHECK((both >> 16) == 0x4000);
  }
  CHECK(fast_exp2(-3.0f) == 0.125f);
  CHECK(fast_exp2(-130.0f) == 0.0f);
}

}  // namespace simt
