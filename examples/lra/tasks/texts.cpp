#include "subquad/examples/lra/tasks/texts.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

namespace subquad::lra {

std::span<const std::uint8_t> TextCut::operator()(std::string_view text) {
  ++texts_;
  const auto length = static_cast<Index>(text.size());
  if (length > limit_) ++cut_;
  if (length == 0) ++empty_;
  return {reinterpret_cast<const std::uint8_t*>(text.data()), static_cast<std::size_t>(std::min(length, limit_))};
}

std::string TextCut::note() const {
  std::ostringstream out;
  const double share = texts_ > 0 ? 100.0 * static_cast<double>(cut_) / static_cast<double>(texts_) : 0;
  out << cut_ << " of " << texts_ << " texts (" << std::fixed << std::setprecision(1) << share
      << " %) are cut to their first " << limit_ << " bytes";
  if (empty_ > 0) out << "; " << empty_ << (empty_ == 1 ? " is" : " are") << " empty";
  return out.str();
}

}  // namespace subquad::lra
