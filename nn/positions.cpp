#include "subquad/nn/positions.h"

#include <cmath>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/core/check.h"
#include "subquad/nn/choice.h"

namespace subquad::nn {

namespace {

constexpr Choices<PositionKind, 3> kPositions = {
    {{"none", PositionKind::none}, {"learned", PositionKind::learned}, {"sinusoid", PositionKind::sinusoid}}};

}  // namespace

PositionKind parse_positions(std::string_view name) {
  return choose("positions", kPositions, name);
}

std::string_view position_name(PositionKind kind) {
  return name_of(kPositions, kind);
}

Tensor sinusoid_table(Index positions, Index width, DType dtype, Device device) {
  Tensor table = empty({positions, width}, kFloat64, kCpu);
  auto cell = table.view<double, 2>();
  for (Index d = 0; d < width; ++d) {
    const double pair = static_cast<double>(d / 2 * 2);
    const double frequency = std::pow(10000.0, -pair / static_cast<double>(width));
    for (Index p = 0; p < positions; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      cell(p, d) = d % 2 == 0 ? std::sin(angle) : std::cos(angle);
    }
  }
  return table.to(dtype).to(device);
}

Positions::Positions(const Place& place, PositionKind kind, Index max_length, Index width, double deviation)
    : Module(place), kind_(kind), max_length_(max_length) {
  if (kind == PositionKind::learned) table_ = parameter("weight", {max_length, width}, normal_init(deviation));
  if (kind == PositionKind::sinusoid) table_ = Variable(sinusoid_table(max_length, width, dtype(), device()));
}

Variable Positions::operator()(const Variable& x) const {
  if (kind_ == PositionKind::none) return x;
  const ModuleScope scope = enter();
  check_rank("positions", "x", x.value(), 3);
  if (x.dim(1) > max_length_)
    throw ShapeError(cat("positions: x is ", describe(x.value()), ", expected at most ", max_length_, " positions"));
  return add(x, slice(table_, 0, 0, x.dim(1)));  // [B, N, D] + [N, D]
}

}  // namespace subquad::nn
