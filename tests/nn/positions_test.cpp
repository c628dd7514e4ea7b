#include "subquad/nn/positions.h"

#include <cmath>

#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

using test::place;

TEST_CASE("sinusoid_table has the published entries") {
  const Tensor table = sinusoid_table(3, 4, kFloat64, test::device());
  CHECK_CLOSE(table,
              tensor<double>({0, 1, 0, 1,                                                                        //
                              0.8414709848078965, 0.5403023058681398, 0.009999833334166664, 0.9999500004166653,  //
                              0.9092974268256817, -0.4161468365471424, 0.01999866669333308, 0.9998000066665778},
                             {3, 4}),
              1e-14);
  CHECK(std::fabs(test::at(sinusoid_table(10, 5, kFloat32, test::device()), {7, 4}) -
                  std::sin(7 * std::pow(10000, -0.8))) < 1e-7);
}

TEST_CASE("Positions adds a row per position") {
  const Tensor x = test::normal({2, 3, 4}, kFloat64, 1);
  for (const PositionKind kind : {PositionKind::learned, PositionKind::sinusoid, PositionKind::none}) {
    const Positions layer(place(kFloat64), kind, 5, 4);
    CHECK(layer.parameters().size() == (kind == PositionKind::learned ? 1 : 0));
    Tensor table = zeros({5, 4}, kFloat64, kCpu);
    if (kind == PositionKind::learned) table = layer.state_dict().at("weight");
    if (kind == PositionKind::sinusoid) table = sinusoid_table(5, 4, kFloat64, kCpu);
    const Tensor out = layer(Variable(x)).value();
    for (Index b = 0; b < 2; ++b)
      for (Index p = 0; p < 3; ++p)
        for (Index d = 0; d < 4; ++d)
          CHECK(test::at(out, {b, p, d}) == test::at(x, {b, p, d}) + test::at(table, {p, d}));
  }
}

TEST_CASE("Positions gradients") {
  const Positions layer(place(kFloat64), PositionKind::learned, 5, 4);
  CHECK_MODULE_GRADIENTS(layer, [&](const auto& in) { return layer(in[0]); }, {test::leaf({2, 3, 4}, 1)});
}

TEST_CASE("Positions names a sequence that is too long and a kind that is unknown") {
  const Positions layer(place(kFloat64), PositionKind::learned, 5, 4);
  CHECK_THROWS_WITH_AS(
      layer(Variable(zeros({1, 6, 4}, kFloat64, test::device()))),
      cat("positions: x is [1, 6, 4] float64 ", test::device(), ", expected at most 5 positions").c_str(), ShapeError);
  CHECK_THROWS_WITH_AS(parse_positions("rotary"), "positions: 'rotary', expected one of none, learned, sinusoid",
                       Error);
  CHECK(position_name(parse_positions("sinusoid")) == "sinusoid");
}

}  // namespace
}  // namespace subquad::nn
