#include "subquad/examples/inspect/pictures.h"

#include <algorithm>
#include <cmath>

#include "subquad/core/parallel.h"
#include "subquad/examples/lra/report/html.h"

namespace subquad::inspect {

namespace {

Index cells_along(Index count, Index block) {
  return (count + block - 1) / block;
}

// Cells of 16 bits, low byte first, between the least and the largest.
Json cells_record(const char* how, const Reduced& reduced) {
  const Tensor& values = reduced.values;
  const double span = reduced.high - reduced.low, step = span > 0 ? 65535 / span : 0;
  std::vector<std::uint8_t> bytes;
  bytes.reserve(2 * static_cast<std::size_t>(values.size()));
  for (const float value : values.span<float>()) {
    const auto cell = static_cast<unsigned>(std::lround((value - reduced.low) * step));
    bytes.push_back(static_cast<std::uint8_t>(cell & 255));
    bytes.push_back(static_cast<std::uint8_t>(cell >> 8));
  }
  return {{"how", how}, {"low", reduced.low}, {"high", reduced.high}, {"data", lra::base64(bytes)}};
}

Json side_record(const Side& side, Index count, Index block) {
  return {{"what", side.what}, {"names", side.names}, {"count", count}, {"block", block}};
}

Tensor difference(const Tensor& a, const Tensor& b) {
  const Tensor first = a.contiguous(), second = b.contiguous();
  Tensor out = empty(a.shape(), kFloat32, kCpu);
  std::ranges::transform(first.span<float>(), second.span<float>(), out.data<float>(), std::minus<>());
  return out;
}

double magnitude(const Tensor& matrix) {
  const Tensor all = matrix.contiguous();
  double most = 0;
  for (const float x : all.span<float>()) most = std::max(most, std::abs(static_cast<double>(x)));
  return most;
}

// Of the larger of two matrices, computed in float32 by ways of their own: what they may differ by and mean the same.
constexpr double kRounding = 1e-5;

}  // namespace

Tensor only_size(Index rows, Index columns) {
  return zeros({1, 1}, kFloat32, kCpu).expand({rows, columns});
}

Index Pictures::add(Picture picture) {
  if (picture.values.defined()) {
    if (picture.rows.cut) longest_ = std::max(longest_, picture.values.dim(0));
    if (picture.columns.cut) longest_ = std::max(longest_, picture.values.dim(1));
  }
  all_.push_back({std::move(picture), std::nullopt});
  return std::ssize(all_) - 1;
}

Index Pictures::add_difference(const Picture& frame, Index first, Index second) {
  const Index number = add(frame);
  Kept& kept = all_.back();
  kept.minus = {static_cast<std::size_t>(first), static_cast<std::size_t>(second)};
  kept.picture.values = all_[kept.minus->first].picture.values;  // its size: the difference is made when it is written
  kept.picture.least = kRounding * std::max(magnitude(all_[kept.minus->first].picture.values),
                                            magnitude(all_[kept.minus->second].picture.values));
  return number;
}

Tensor Pictures::values(const Kept& kept) const {
  if (kept.picture.make) return kept.picture.make();
  if (!kept.minus) return kept.picture.values;
  return difference(all_[kept.minus->first].picture.values, all_[kept.minus->second].picture.values);
}

Blocks Pictures::blocks_of(const Picture& picture, Index block) const {
  if (block == 1) return {.rows = 1, .columns = 1};
  const Index most = cells_along(longest_, block);
  const auto along = [&](const Side& side, Index count) {
    return side.cut ? block : std::max<Index>(1, cells_along(count, most));
  };
  return {.rows = along(picture.rows, picture.values.dim(0)), .columns = along(picture.columns, picture.values.dim(1))};
}

std::size_t Pictures::bytes(Index block) const {
  std::size_t sum = 0;
  for (const auto& [picture, minus] : all_) {
    const Blocks blocks = blocks_of(picture, block);
    const Index rows = cells_along(picture.values.dim(0), blocks.rows);
    const Index columns = cells_along(picture.values.dim(1), blocks.columns);
    constexpr Index kAround = 120;  // a set's limits, names and padding
    const int sets = block > 1 ? 2 : 1;
    sum += static_cast<std::size_t>(sets * (8 * rows * columns / 3 + kAround)) + frame(picture, block).dump().size();
  }
  return sum;
}

Index Pictures::block_for(std::size_t most) const {
  Index block = 1;
  while (bytes(block) > most && block < longest_) ++block;
  return block;
}

Json Pictures::cells(const Kept& kept, Index block) const {
  const Tensor all = values(kept);
  const Blocks blocks = blocks_of(kept.picture, block);
  Json sets = Json::array({cells_record("mean", reduced(all, blocks, Reduction::mean))});
  if (block > 1) sets.push_back(cells_record("largest", reduced(all, blocks, Reduction::largest)));
  return sets;
}

Json Pictures::frame(const Picture& p, Index block) const {
  const Blocks blocks = blocks_of(p, block);
  return {{"id", p.id},
          {"title", p.title},
          {"about", p.about},
          {"scale", p.scale},
          {"least", p.least},
          {"rows", side_record(p.rows, p.values.dim(0), blocks.rows)},
          {"columns", side_record(p.columns, p.values.dim(1), blocks.columns)}};
}

Json Pictures::records(Index block) const {
  std::vector<Json> made(all_.size());
  const auto write = [&](std::size_t i) {
    made[i] = frame(all_[i].picture, block);
    made[i]["cells"] = cells(all_[i], block);
  };
  parallel_for(std::ssize(all_), 1 << 20, [&](Index i) {
    if (!all_[static_cast<std::size_t>(i)].picture.make) write(static_cast<std::size_t>(i));
  });
  for (std::size_t i = 0; i < all_.size(); ++i)
    if (all_[i].picture.make) write(i);  // all threads work on one
  Json records = Json::array();
  for (Json& record : made) records.push_back(std::move(record));
  return records;
}

}  // namespace subquad::inspect
