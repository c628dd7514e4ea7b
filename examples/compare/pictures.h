// What a comparison found, as pictures.
//
//   errors_by_work.svg     error of the mixing matrix against flops per query, at the largest N
//   outputs_by_work.svg    error of what the head puts out, likewise
//   errors_by_length.svg   the same against N, at one budget
//   choices.svg            softmax mass that FSAT's choice of keys misses, beside the best choices
//   ranks.svg              Nystrom beside the best matrix of as high a rank
//   growth.svg             time and memory of the modules against N
#pragma once

#include "subquad/examples/compare/comparison.h"
#include "subquad/examples/compare/log_chart.h"

namespace subquad::compare {

struct NamedPicture {
  std::string file;
  Picture picture;
};
std::vector<NamedPicture> pictures(const Comparison& c);  // those that there is data for

}  // namespace subquad::compare
