// Fourier transforms along n of [batch, n, d] or of [batch, d, n], and cyclic products along n of [batch, n, d].
#include "subquad/autograd/ops/circular.h"
#include "subquad/autograd/ops/fft.h"
#include "subquad/bench/kernel/case.h"
#include "subquad/kernels/circular/circular.h"
#include "subquad/kernels/fft/fft.h"

namespace subquad::bench {

namespace {

Shape shape_of(const Settings& s) {
  return {s.size("batch"), s.size("n"), s.size("d")};
}

// Of a real transform of every channel.
double transform_flops(const Shape& shape) {
  return kernels::real_transforms(shape[0] * shape[2], shape[1]).count;
}

// What a transform is made along: x is [batch, n, d] for --axis 1 and [batch, d, n], with n last, for --axis 2.
struct Layout {
  int axis;
  Shape shape;
};

Layout layout_of(const Settings& s) {
  const Index axis = s.size("axis");
  if (axis != 1 && axis != 2) throw Error(cat(s.op(), ": --axis is ", axis, ", expected 1 or 2"));
  const Shape shape = shape_of(s);
  return {static_cast<int>(axis), axis == 1 ? shape : Shape{shape[0], shape[2], shape[1]}};
}

Work fft_work(const Settings& s, const nn::Place& place) {
  const Shape shape = shape_of(s);
  const auto [axis, seen] = layout_of(s);
  const Variable x = normal_input(place, "x", seen.inserted(3, 2));  // real and imaginary parts
  const Count count = {2 * transform_flops(shape), 2 * bytes_of({x.shape()}, place.dtype())};
  return {.inputs = {{"x", x}},
          .forward = [x, axis = axis]() -> std::vector<Variable> {
            return {complex_to_pairs(fft(pairs_to_complex(x), axis))};
          },
          .forward_count = count,
          .backward_count = count};
}

Work rfft_work(const Settings& s, const nn::Place& place) {
  const Shape shape = shape_of(s);
  const auto [axis, seen] = layout_of(s);
  const Variable x = normal_input(place, "x", seen);
  const Count count = {transform_flops(shape), 2 * bytes_of({shape}, place.dtype())};
  return {.inputs = {{"x", x}},
          .forward = [x, axis = axis]() -> std::vector<Variable> { return {complex_to_pairs(rfft(x, axis))}; },
          .forward_count = count,
          .backward_count = count};
}

Work irfft_work(const Settings& s, const nn::Place& place) {
  const Shape shape = shape_of(s);
  const auto [axis, seen] = layout_of(s);
  const Index n = shape[1];
  const Variable x = normal_input(place, "x", seen.with(axis, n / 2 + 1).inserted(3, 2));
  const Count count = {transform_flops(shape), 2 * bytes_of({shape}, place.dtype())};
  return {.inputs = {{"x", x}},
          .forward = [x, n, axis = axis]() -> std::vector<Variable> { return {irfft(pairs_to_complex(x), n, axis)}; },
          .forward_count = count,
          .backward_count = count};
}

Work circular_work(const Settings& s, const nn::Place& place,
                   Variable (*op)(const Variable&, const Variable&, const Mask&)) {
  const Shape shape = shape_of(s);
  const Variable a = normal_input(place, "a", shape), b = normal_input(place, "b", shape);
  const double bytes = bytes_of({shape}, place.dtype());
  return {.inputs = {{"a", a}, {"b", b}},
          .forward = [=]() -> std::vector<Variable> { return {op(a, b, {})}; },
          .forward_count = {kernels::circular_work(shape).count, 3 * bytes},
          .backward_count = {kernels::circular_work(shape).count, 5 * bytes}};  // the spectra of a and b are there
}

}  // namespace

std::vector<Case> fft_cases() {
  const std::vector<Setting> settings = {
      {"n", "4096", "positions"}, {"d", "64", "channels"}, {"batch", "4", "samples"}};
  const auto circular = [&](const char* name, const char* about, auto op) {
    return Case{name, about, settings,
                [op](const Settings& s, const nn::Place& place) { return circular_work(s, place, op); }};
  };
  std::vector<Setting> transform = settings;
  transform.push_back({"axis", "1", "1: x is [batch, n, d]; 2: [batch, d, n], with n last"});
  return {{"fft", "complex transform along n", transform, fft_work},
          {"rfft", "real transform along n", transform, rfft_work},
          {"irfft", "real transform back along n", transform, irfft_work},
          circular("circular_convolve", "cyclic convolution along n by three transforms", circular_convolve),
          circular("circular_correlate", "cyclic correlation along n by three transforms", circular_correlate)};
}

}  // namespace subquad::bench
