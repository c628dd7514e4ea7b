// The pictures of nn/attention's pages, drawn from what the library computes; draw_attention writes them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::pictures {

std::string overview();           // which entries each of the five has
std::string softmax();            // logits to weights, and a row read in tiles
std::string local();              // the band
std::string nystrom();            // means of segments, F Z S, the difference from softmax
std::string pinv();               // A Z_t on its way to the identity; which singular values are inverted
std::string fsat();               // scores of lags and columns, what is chosen
std::string paramixer();          // factors of each protocol, and their product
std::string paramixer_reach();    // the positions that one of them has heard of after each factor
std::string ranks();              // singular values of what values are multiplied with
std::string combiner();           // one query's entries, and the matrix that they make
std::string combiner_patterns();  // what is direct and what is summarised, per pattern

struct Picture {
  std::string_view name;  // of the file, without .svg
  std::string (*draw)();
};
const std::vector<Picture>& all_pictures();

}  // namespace subquad::pictures
