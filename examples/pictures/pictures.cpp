#include "subquad/examples/pictures/pictures.h"

namespace subquad::pictures {

const std::vector<Picture>& all_pictures() {
  static const std::vector<Picture> kAll = {{"attentions", overview},
                                            {"softmax", softmax},
                                            {"local", local},
                                            {"nystrom", nystrom},
                                            {"nystrom_pinv", pinv},
                                            {"fsat", fsat},
                                            {"paramixer", paramixer},
                                            {"paramixer_reach", paramixer_reach},
                                            {"ranks", ranks},
                                            {"combiner", combiner},
                                            {"combiner_patterns", combiner_patterns}};
  return kAll;
}

}  // namespace subquad::pictures
