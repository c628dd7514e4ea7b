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
  struct Share {
    std::string of;  // "layer 1", "the page's program and style"
    std::size_t pictures = 0, rest = 0;
    std::size_t bytes() const { return pictures + rest; }
  };
  std::string html;
  bool keeps_limit = true;
  std::vector<Share> shares = {};  // what takes its bytes, the largest first, where it does not keep the limit
};
FinishedPage finished_page(PageData page, std::size_t bytes);

// Of a page that does not keep it: what takes how much, and which options leave room or need less of it.
std::string over_limit_text(const FinishedPage& page, double megabytes, bool fresh);

// "layer1.mixing" and, where there are such, "layer1.without_convolution" and "layer1.softmax", [H, N, N] float32, ...
void write_matrices(const std::string& path, const std::vector<LayerMatrices>& matrices);

}  // namespace subquad::inspect
