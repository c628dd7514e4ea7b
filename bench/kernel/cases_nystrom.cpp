// Nystrom attention's parts: landmarks, the pseudo-inverse, the convolution over the values.
#include "subquad/autograd/ops/conv1d.h"
#include "subquad/autograd/ops/landmark_softmax.h"
#include "subquad/autograd/ops/pinv.h"
#include "subquad/autograd/ops/segment_mean.h"
#include "subquad/autograd/ops/softmax.h"
#include "subquad/bench/kernel/case.h"
#include "subquad/kernels/segments/segments.h"

namespace subquad::bench {

namespace {

Work segment_mean_work(const Settings& s, const nn::Place& place) {
  const Index batch = s.size("batch"), heads = s.size("heads"), n = s.size("n"), segments = s.size("landmarks");
  const Variable x = head_input(place, "x", s);
  const Tensor starts = kernels::even_segments(batch, n, segments, place.device());
  const double bytes = bytes_of({x.shape(), {batch, heads, segments, x.dim(3)}}, place.dtype());
  const auto elements = static_cast<double>(x.value().size());
  return {.inputs = {{"x", x}, {"starts", Variable(starts)}},
          .forward = [=]() -> std::vector<Variable> { return {segment_mean(x, starts)}; },
          .forward_count = {elements, bytes},
          .backward_count = {elements, bytes}};
}

// Of matrices whose rows are weights, as in the attention.
Work pinv_work(const Settings& s, const nn::Place& place) {
  const Index m = s.size("m"), matrices = s.size("batch");
  const PinvOptions options = {.iterations = static_cast<int>(s.size("iterations"))};
  const Variable a(softmax(normal_input(place, "a", {matrices, m, m})).value(), true);
  const double steps = static_cast<double>(options.iterations * matrices), bytes = bytes_of({a.shape()}, place.dtype());
  const auto cube = static_cast<double>(m * m * m);
  const double kept = static_cast<double>(options.iterations) * bytes;  // Z_0 ... Z_{T-1}
  return {.inputs = {{"a", a}},
          .forward = [=]() -> std::vector<Variable> { return {pinv(a, options)}; },
          .forward_count = {8 * cube * steps, 2 * bytes + kept},
          .backward_count = {16 * cube * steps, 3 * bytes + kept}};
}

Work landmark_softmax_work(const Settings& s, const nn::Place& place) {
  const Index m = s.size("landmarks");
  const Variable x = normal_input(place, "x", {s.size("batch"), s.size("heads"), m, m});
  const double bytes = bytes_of({x.shape()}, place.dtype()), elements = static_cast<double>(x.value().size());
  return {.inputs = {{"x", x}},
          .forward = [=]() -> std::vector<Variable> { return {landmark_softmax(x)}; },
          .forward_count = {4 * elements, 2 * bytes},
          .backward_count = {4 * elements, 3 * bytes}};
}

Work conv1d_work(const Settings& s, const nn::Place& place) {
  const Index heads = s.size("heads"), taps = s.size("taps");
  const Variable x = head_input(place, "x", s);
  const Variable filter = normal_input(place, "filter", {heads, taps});
  const double bytes = bytes_of({x.shape()}, place.dtype());
  const double flops = 2 * static_cast<double>(taps) * static_cast<double>(x.value().size());
  return {.inputs = {{"x", x}, {"filter", filter}},
          .forward = [=]() -> std::vector<Variable> { return {conv1d(x, filter)}; },
          .forward_count = {flops, 2 * bytes},
          .backward_count = {2 * flops, 3 * bytes}};
}

}  // namespace

std::vector<Case> nystrom_cases() {
  return {{"segment_mean",
           "landmarks: means of even segments of x [batch, heads, n, d / heads]",
           {{"n", "4096", "positions"},
            {"d", "64", "features of all heads"},
            {"batch", "4", "samples"},
            {"heads", "2", "heads"},
            {"landmarks", "64", "segments"}},
           segment_mean_work},
          {"conv1d",
           "one filter per head along the positions of x [batch, heads, n, d / heads]",
           {{"n", "4096", "positions"},
            {"d", "64", "features of all heads"},
            {"batch", "4", "samples"},
            {"heads", "2", "heads"},
            {"taps", "35", "odd"}},
           conv1d_work},
          {"landmark_softmax",
           "softmax between landmarks, x [batch, heads, landmarks, landmarks]",
           {{"landmarks", "64", "rows and columns"}, {"batch", "4", "samples"}, {"heads", "2", "heads"}},
           landmark_softmax_work},
          {"pinv",
           "the iterative pseudo-inverse of `batch` matrices m x m",
           {{"m", "64", "rows and columns"}, {"batch", "8", "matrices"}, {"iterations", "6", "steps"}},
           pinv_work}};
}

}  // namespace subquad::bench
