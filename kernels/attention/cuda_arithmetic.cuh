// How attention multiplies float32 tensors on tensor cores: one struct per Precision, each with the fragments of a
// product that is 16 deep (16 rows times 8 columns).
//
// A lane holds four of the 16 numbers of a row or column. Which four is up to who loads them: the sum over all 16 comes
// out the same as long as both factors agree. Rows of the left factor are g and g + 8, columns of the right one are g,
// for lane 4 g + t.
//
// `multiply` adds a product to d within the tensor core, which is reported to round its sums towards zero (Fasi et al.
// 2021, "Numerical behavior of NVIDIA tensor cores"): good for sums as long as a row is wide. `accumulate` is for sums
// over all positions, where such errors, which all have the same sign, would grow like their number.
#pragma once

#include "subquad/core/precision.h"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/ptx.cuh"

namespace subquad::kernels::cuda {

using Four = Pack<float, 4>;

// Which factor of a product the queries are. Both ways the terms are added in the same order, so that backward, which
// also multiplies keys by queries, finds the logits of forward to the same bits.
enum class Queries { left, right };

struct Tf32Product {
  struct Left {
    std::uint32_t of[2][4];  // two products that are 8 deep
  };
  struct Right {
    std::uint32_t of[2][2];
  };
  using Kept = Left;

  static __device__ Kept keep(const Four& upper, const Four& lower) {
    Left a;
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      a.of[step][0] = to_tf32(upper.at[2 * step]);
      a.of[step][1] = to_tf32(lower.at[2 * step]);
      a.of[step][2] = to_tf32(upper.at[2 * step + 1]);
      a.of[step][3] = to_tf32(lower.at[2 * step + 1]);
    }
    return a;
  }
  static __device__ const Left& left(const Kept& kept) {
    return kept;
  }
  static __device__ Right right(const Four& column) {
    Right b;
#pragma unroll
    for (int i = 0; i < 4; ++i) b.of[i / 2][i % 2] = to_tf32(column.at[i]);
    return b;
  }
  template <Queries>
  static __device__ void multiply(float (&d)[4], const Left& a, const Right& b) {
#pragma unroll
    for (int step = 0; step < 2; ++step) mma_tf32(d, a.of[step], b.of[step]);
  }
  static __device__ void accumulate(float (&sum)[4], const Left& a, const Right& b) {
    multiply<Queries::left>(sum, a, b);  // rounding the operands is the larger error by far
  }
};

// Every number x is big + small, both TF32, but for 2^-22 |x|. The product of two small parts, of the same size, is
// left out; the sums of the others are float32.
struct Fp32Product {
  struct Left {
    Tf32Product::Left big, small;
  };
  struct Right {
    Tf32Product::Right big, small;
  };
  struct Kept {  // half the registers of Left
    Four upper, lower;
  };

  static __device__ Kept keep(const Four& upper, const Four& lower) { return {upper, lower}; }
  static __device__ Left left(const Kept& kept) {
    const Four upper = again(kept.upper), lower = again(kept.lower);
    return {Tf32Product::keep(upper, lower), Tf32Product::keep(rest(upper), rest(lower))};
  }
  static __device__ Right right(const Four& column) {
    return {Tf32Product::right(column), Tf32Product::right(rest(column))};
  }
  template <Queries kQueries>
  static __device__ void multiply(float (&d)[4], const Left& a, const Right& b) {
    Tf32Product::multiply<kQueries>(d, kQueries == Queries::left ? a.small : a.big,
                                    kQueries == Queries::left ? b.big : b.small);
    Tf32Product::multiply<kQueries>(d, kQueries == Queries::left ? a.big : a.small,
                                    kQueries == Queries::left ? b.small : b.big);
    Tf32Product::multiply<kQueries>(d, a.big, b.big);
  }
  static __device__ void accumulate(float (&sum)[4], const Left& a, const Right& b) {
    float part[4] = {};
    multiply<Queries::left>(part, a, b);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += part[i];
  }

 private:
  // Splitting costs less than the registers in which both parts of all of a warp's rows would lie.
  static __device__ Four again(const Four& x) {
    Four r;
#pragma unroll
    for (int i = 0; i < 4; ++i) r.at[i] = opaque(x.at[i]);
    return r;
  }
  static __device__ Four rest(const Four& x) {
    Four r;
#pragma unroll
    for (int i = 0; i < 4; ++i) r.at[i] = x.at[i] - __uint_as_float(to_tf32(x.at[i]));
    return r;
  }
};

struct Bf16Product {
  struct Left {
    std::uint32_t of[4];
  };
  struct Right {
    std::uint32_t of[2];
  };
  using Kept = Left;

  static __device__ Kept keep(const Four& upper, const Four& lower) {
    return {{to_bf16x2(upper.at[0], upper.at[1]), to_bf16x2(lower.at[0], lower.at[1]),
             to_bf16x2(upper.at[2], upper.at[3]), to_bf16x2(lower.at[2], lower.at[3])}};
  }
  static __device__ const Left& left(const Kept& kept) { return kept; }
  static __device__ Right right(const Four& column) {
    return {{to_bf16x2(column.at[0], column.at[1]), to_bf16x2(column.at[2], column.at[3])}};
  }
  template <Queries>
  static __device__ void multiply(float (&d)[4], const Left& a, const Right& b) {
    mma_bf16(d, a.of, b.of);
  }
  static __device__ void accumulate(float (&sum)[4], const Left& a, const Right& b) {
    multiply<Queries::left>(sum, a, b);
  }
};

// Calls f with an object of the struct that computes in `precision`.
template <class F>
void visit_product(Precision precision, F&& f) {
  switch (precision) {
    case Precision::fp32: return f(Fp32Product{});
    case Precision::tf32: return f(Tf32Product{});
    case Precision::bf16: return f(Bf16Product{});
  }
}

}  // namespace subquad::kernels::cuda
