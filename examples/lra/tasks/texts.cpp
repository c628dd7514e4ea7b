#include "subquad/examples/lra/tasks/texts.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/raw_input.h"

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

EncodedInput encode_text(const TaskSource& source, const RawInput& raw) {
  std::string_view text = raw.bytes;
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (text.empty()) throw FormatError(cat(raw.name, ": the text is empty"));
  TextCut cut(source.cut);
  const std::span<const std::uint8_t> kept = cut(text);
  EncodedInput encoded;
  encoded.first_id = kFirstTextId;
  encoded.tokens.assign(kept.begin(), kept.end());
  if (kept.size() < text.size())
    encoded.notes.push_back(
        cat("only the first ", kept.size(), " of its ", text.size(), " bytes are read, as in training"));
  return encoded;
}

}  // namespace subquad::lra
