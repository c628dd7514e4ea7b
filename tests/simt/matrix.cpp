#include <simt/matrix.h>
#include <simt/warp.h>

#include <bit>
#include <cstring>

namespace simt {
namespace {

constexpr unsigned kWholeWarp = 0xffffffffu;

struct Rows {  // of four 8x8 matrices: what a lane brings to load_matrix, and what it takes away
  const unsigned char* row;
  std::uint32_t result[4] = {};
};

const unsigned char* row_of(void* const* lanes, int matrix, int row) {
  return static_cast<const Rows*>(lanes[8 * matrix + row])->row;
}

void hand_out_rows(void* const* lanes, unsigned) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      std::memcpy(&static_cast<Rows*>(lanes[lane])->result[i], row_of(lanes, i, lane / 4) + 4 * (lane % 4), 4);
}

void hand_out_columns(void* const* lanes, unsigned) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      std::uint16_t pair[2];
      for (int k = 0; k < 2; ++k) std::memcpy(&pair[k], row_of(lanes, i, 2 * (lane % 4) + k) + 2 * (lane / 4), 2);
      static_cast<Rows*>(lanes[lane])->result[i] = pair[0] | std::uint32_t{pair[1]} << 16;
    }
}

void load_matrix(const char* name, std::uint32_t (&r)[4], const void* shared_row, Place where,
                 void (*hand_out)(void* const*, unsigned)) {
  if (reinterpret_cast<std::uintptr_t>(shared_row) % 16 != 0) fail(std::string(name) + " of a row not aligned to 16");
  if (!is_shared(shared_row, 16)) fail(std::string(name) + " of a row outside of shared memory");
  Rows mine{static_cast<const unsigned char*>(shared_row)};
  meet_warp(kWholeWarp, name, where, &mine, hand_out);
  std::memcpy(r, mine.result, sizeof r);
}

// What a lane brings to d += a b.
struct Product {
  float* d;
  const std::uint32_t *a, *b;
};

const Product& product(void* const* lanes, int lane) {
  return *static_cast<const Product*>(lanes[lane]);
}

// To float32, towards zero.
float truncated(double x) {
  return static_cast<float>(std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) & ~((std::uint64_t{1} << 29) - 1)));
}

// 16 x K times K x 8, once the fragments have been put together. Half of the K products are added to the sum at a time,
// exactly, and the result is truncated, as was measured on an A100 (Fasi et al. 2021, "Numerical behavior of NVIDIA
// tensor cores").
template <int K>
void accumulate(void* const* lanes, const float (&a)[16][K], const float (&b)[K][8]) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      float& d = product(lanes, lane).d[i];
      for (int k = 0; k < K; k += K / 2) {
        double sum = d;
        for (int e = k; e < k + K / 2; ++e) sum += static_cast<double>(a[row][e]) * static_cast<double>(b[e][column]);
        d = truncated(sum);
      }
    }
}

float half_of(std::uint32_t pair, int which) {  // two bfloat16
  return std::bit_cast<float>(which == 0 ? pair << 16 : pair & 0xffff0000u);
}

void multiply_fragments_bf16(void* const* lanes, unsigned) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const Product& mine = product(lanes, lane);
    const int g = lane / 4, t = lane % 4;
    for (int which = 0; which < 2; ++which) {
      for (int i = 0; i < 4; ++i) a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + which] = half_of(mine.a[i], which);
      for (int i = 0; i < 2; ++i) b[2 * t + 8 * i + which][g] = half_of(mine.b[i], which);
    }
  }
  accumulate(lanes, a, b);
}

float tf32(std::uint32_t bits) {  // the unit does not look at the low 13 bits
  return std::bit_cast<float>(bits & ~0x1fffu);
}

void multiply_fragments_tf32(void* const* lanes, unsigned) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < 32; ++lane) {
    const Product& mine = product(lanes, lane);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) a[g + 8 * (i % 2)][t + 4 * (i / 2)] = tf32(mine.a[i]);
    for (int i = 0; i < 2; ++i) b[t + 4 * i][g] = tf32(mine.b[i]);
  }
  accumulate(lanes, a, b);
}

}  // namespace

void load_rows(std::uint32_t (&r)[4], const void* shared_row, Place where) {
  load_matrix("load_matrix_x4", r, shared_row, where, hand_out_rows);
}
void load_columns(std::uint32_t (&r)[4], const void* shared_row, Place where) {
  load_matrix("load_matrix_x4_transposed", r, shared_row, where, hand_out_columns);
}

void multiply_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place where) {
  Product mine{d, a, b};
  meet_warp(kWholeWarp, "mma_bf16", where, &mine, multiply_fragments_bf16);
}
void multiply_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place where) {
  Product mine{d, a, b};
  meet_warp(kWholeWarp, "mma_tf32", where, &mine, multiply_fragments_tf32);
}

}  // namespace simt
