#include "subquad/autograd/ops/grid_attention.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

constexpr Index kPositions = 11, kColumns = 4;

struct Grid {
  BlockPattern pattern;
  std::vector<GridRun> runs;
};

std::vector<Grid> grids() {
  const auto run = [](GridAxis along, bool after) {
    return GridRun{.along = along, .after = after, .attention = {.scale = 0.3}};
  };
  const GridRun above = run(GridAxis::column, false), below = run(GridAxis::column, true);
  const GridRun left = run(GridAxis::row, false), right = run(GridAxis::row, true);
  return {{{.kind = BlockKind::vertical, .size = kColumns}, {above, below}},
          {{.kind = BlockKind::horizontal, .size = kColumns, .causal = true}, {left, right}},
          {{.kind = BlockKind::mixture, .size = kColumns}, {above, below, left, right}}};
}

std::vector<Variable> inputs(DType dtype) {
  std::vector<Variable> all;
  for (std::uint64_t seed = 1; seed <= 3; ++seed)
    all.emplace_back(normal({2, 2, kPositions, seed == 3 ? 2 : 3}, dtype, seed), true);
  return all;
}

Mask lengths() {
  return Mask::from_lengths(here(tensor<Index>({kPositions, 6}, {2})), kPositions);
}

// The same by an op for each part.
BlockAttentionResult by_parts(const std::vector<Variable>& in, const Grid& grid, const Mask& mask) {
  std::vector<BlockSummaries> summaries;
  for (const GridRun& run : grid.runs) {
    const auto maxima = [&](const Variable& x) {
      const Variable rows = reshape(contiguous(transpose(x, 1, 2)), {2, kPositions, 6});
      const Variable tops = running_max(rows, {.columns = kColumns, .along = run.along, .after = run.after}, mask);
      return transpose(reshape(tops, {2, tops.dim(1), 2, 3}), 1, 2);
    };
    const BlockPattern line{.kind = run.along == GridAxis::row ? BlockKind::row : BlockKind::column,
                            .size = kColumns,
                            .sight = run.after ? LineSight::after : LineSight::before};
    summaries.push_back(
        {maxima(in[1]), block_attention(maxima(in[0]), in[1], in[2], {}, line, mask, run.attention).out});
  }
  return block_attention(in[0], in[1], in[2], summaries, grid.pattern, mask);
}

std::vector<Tensor> gradients(const BlockAttentionResult& r, const std::vector<Variable>& in) {
  return grad({r.out}, in, {normal(r.out.shape(), r.out.dtype(), 10)});
}

}  // namespace

TEST_CASE("grid_attention and its gradients are those of its parts") {
  for_each_float([](DType dtype) {
    for (const Grid& grid : grids())
      for (const Mask& mask : {Mask{}, lengths()}) {
        const std::vector<Variable> in = inputs(dtype);
        const BlockAttentionResult got = grid_attention(in[0], in[1], in[2], grid.runs, grid.pattern, mask);
        const BlockAttentionResult want = by_parts(in, grid, mask);
        CHECK(same_bits(got.out.value(), want.out.value()));
        CHECK(same_bits(got.lse.value(), want.lse.value()));
        const std::vector<Tensor> grads = gradients(got, in), expected = gradients(want, in);
        for (std::size_t i = 0; i < grads.size(); ++i)
          CHECK_CLOSE(grads[i], doubles(expected[i]), dot_tolerance(dtype, 4 * kPositions));
      }
  });
}

TEST_CASE("grid_attention: some inputs alone get gradients") {
  const Grid grid = grids()[2];
  const std::vector<Variable> in = inputs(kFloat32);
  const std::vector<Tensor> want = gradients(grid_attention(in[0], in[1], in[2], grid.runs, grid.pattern), in);
  for (std::size_t one = 0; one < 3; ++one) {
    std::vector<Variable> some;
    for (std::size_t i = 0; i < 3; ++i) some.emplace_back(in[i].value(), i == one);
    const BlockAttentionResult r = grid_attention(some[0], some[1], some[2], grid.runs, grid.pattern);
    CHECK(same_bits(gradients(r, {some[one]})[0], want[one]));
  }
}

TEST_CASE("grid_attention gradients") {
  for (const Grid& grid : grids())
    CHECK_GRADIENTS(
        [&](const std::vector<Variable>& in) -> std::vector<Variable> {
          return {grid_attention(in[0], in[1], in[2], grid.runs, grid.pattern, lengths()).out};
        },
        {leaf({2, 2, kPositions, 3}, 1), leaf({2, 2, kPositions, 3}, 2), leaf({2, 2, kPositions, 2}, 3)},
        interpreted() ? GradcheckOptions{.full_limit = 4, .directions = 2} : GradcheckOptions{});
}

TEST_CASE("grid_attention names what does not fit") {
  const std::vector<Variable> in = inputs(kFloat32);
  const Grid grid = grids()[0];
  CHECK_THROWS_AS(grid_attention(in[0], in[2], in[2], grid.runs, grid.pattern), ShapeError);
  CHECK_THROWS_AS(grid_attention(in[0], in[1], in[2], {grid.runs[0]}, grid.pattern), Error);
}

}  // namespace subquad::test
