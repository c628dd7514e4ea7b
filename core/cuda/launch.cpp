#include "subquad/core/cuda/launch.cuh"

namespace subquad::cuda {

unsigned blocks_for(const char* op, Index items, Index per_block) {
  constexpr Index kMostBlocks = 0x7fffffff;  // of a grid's first dimension
  const Index blocks = items / per_block + (items % per_block != 0 ? 1 : 0);
  if (blocks > kMostBlocks)
    throw Error(cat(op, ": ", items, " items in blocks of ", per_block, " are more than one launch can take"));
  return static_cast<unsigned>(blocks);
}

}  // namespace subquad::cuda
