#include "subquad/kernels/chord_matmul/links.h"

#include <bit>

#include "subquad/core/error.h"

namespace subquad::kernels {

Links chord_links(Index count) {
  if (count < 1 || count > 63) throw Error(cat("chord_links: count is ", count, ", expected 1 to 63"));
  Links links{LinkRule::circular, {0}};
  for (Index k = 1; k < count; ++k) links.offsets.push_back(Index{1} << (k - 1));
  return links;
}

Links cdil_links(Index dilation, Index count) {
  if (count < 1 || count % 2 == 0)
    throw Error(cat("cdil_links: count is ", count, ", expected an odd number: the position itself and as many on ",
                    "either side"));
  if (dilation < 1) throw Error(cat("cdil_links: dilation is ", dilation, ", expected at least 1"));
  Links links{LinkRule::circular, {0}};
  for (const Index side : {dilation, -dilation})
    for (Index k = 1; k <= count / 2; ++k) links.offsets.push_back(side * k);
  return links;
}

Links butterfly_links(Index distance) {
  if (distance < 1 || !std::has_single_bit(static_cast<std::uint64_t>(distance)))
    throw Error(cat("butterfly_links: distance is ", distance, ", expected a power of two"));
  return {LinkRule::flip, {0, distance}};
}

Index linked_column(const Links& links, Index row, Index k, Index positions) {
  const Index offset = links.offsets[static_cast<std::size_t>(k)];
  if (links.rule == LinkRule::flip) {
    const Index partner = row ^ offset;
    return partner < positions ? partner : -1;
  }
  const bool short_of_all = -positions < offset && offset < positions;
  const Index forward = short_of_all ? offset : offset % positions;  // of the offset's sign
  const Index column = row + forward;
  if (column < 0) return column + positions;
  return column < positions ? column : column - positions;
}

Links mirrored(const Links& links) {
  Links turned = links;
  if (links.rule == LinkRule::circular)
    for (Index& offset : turned.offsets) offset = -offset;
  return turned;
}

}  // namespace subquad::kernels
