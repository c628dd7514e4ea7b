// All that a page is told: what was asked and answered, each layer, and what is known of the whole.
#pragma once

#include "subquad/examples/inspect/layer_page.h"
#include "subquad/examples/inspect/subject.h"

namespace subquad::inspect {

struct PageData {
  Json data;  // without its pictures
  Pictures pictures;
  std::vector<LayerMatrices> matrices;  // of each layer
};
PageData page_data(Subject& subject);

// The whole page, its curves so short and its pictures in blocks so large that it has no more than `bytes`. Where that
// cannot be, as pictures of less than 8 cells a side show nothing, it says in its facts how large it is, as it says
// what a cell is.
struct FinishedPage {
  std::string html;
  bool keeps_limit = true;
};
FinishedPage finished_page(PageData page, std::size_t bytes);

// "layer1.mixing" and, where there are such, "layer1.without_convolution" and "layer1.softmax", [H, N, N] float32, ...
void write_matrices(const std::string& path, const std::vector<LayerMatrices>& matrices);

}  // namespace subquad::inspect
