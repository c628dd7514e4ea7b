#include "subquad/bench/kernel/case.h"

#include <algorithm>

#include "subquad/core/rng.h"

namespace subquad::bench {

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto& family : {product_cases, row_cases, attention_cases, fft_cases, fsat_cases, combiner_cases,
                             paramixer_cases, nystrom_cases, move_cases, module_cases, layer_cases, step_cases})
    for (Case& c : family()) all.push_back(std::move(c));
  return all;
}

Case find_case(const std::string& op) {
  std::string names;
  for (Case& c : all_cases()) {
    if (c.op == op) return std::move(c);
    names += (names.empty() ? "" : ", ") + c.op;
  }
  throw Error(cat("there is no op '", op, "'; there are ", names));
}

Variable normal_input(const nn::Place& place, const std::string& name, const Shape& shape) {
  Tensor value = empty(shape, kFloat32, kCpu);
  fill_normal(value, 0, 1, place.seed(), stream_id(name));
  return Variable(value.to(place.dtype()).to(place.device()), true);
}

Variable head_input(const nn::Place& place, const std::string& name, const Settings& s) {
  const Index heads = s.size("heads"), width = s.size("d");
  if (heads < 1 || width % heads != 0) throw Error(cat(s.op(), ": --d ", width, " does not divide by --heads ", heads));
  const Variable flat = normal_input(place, name, {s.size("batch"), s.size("n"), heads, width / heads});
  return Variable(flat.value().transpose(1, 2), true);
}

double bytes_of(std::initializer_list<Shape> shapes, DType dtype) {
  double elements = 0;
  for (const Shape& shape : shapes) elements += static_cast<double>(shape.size());
  return elements * static_cast<double>(dtype_bytes(dtype));
}

}  // namespace subquad::bench
