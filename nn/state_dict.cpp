#include "subquad/nn/state_dict.h"

#include <vector>

#include "subquad/core/check.h"

namespace subquad::nn {

namespace {

// "2 missing (a, b)"; "" when there is nothing to tell.
std::string complaint(const std::vector<std::string>& items, const char* what) {
  constexpr std::size_t kNamed = 5;
  if (items.empty()) return "";
  std::string names;
  for (std::size_t i = 0; i < std::min(items.size(), kNamed); ++i) names += (i ? ", " : "") + items[i];
  if (items.size() > kNamed) names += cat(" and ", items.size() - kNamed, " more");
  return cat("; ", items.size(), " ", what, " (", names, ")");
}

}  // namespace

void load_tensors(const std::string& op, const StateDict& into, const StateDict& from) {
  std::vector<std::string> missing, unexpected, different;
  for (const auto& [name, tensor] : into) {
    const auto found = from.find(name);
    if (found == from.end())
      missing.push_back(name);
    else if (found->second.shape() != tensor.shape() || found->second.dtype() != tensor.dtype())
      different.push_back(cat(name, " is ", found->second.shape(), " ", found->second.dtype(), ", expected ",
                              tensor.shape(), " ", tensor.dtype()));
  }
  for (const auto& [name, tensor] : from)
    if (!into.contains(name)) unexpected.push_back(name);

  const std::string complaints = complaint(missing, "missing") + complaint(unexpected, "unexpected") +
                                 complaint(different, "of another shape or dtype");
  if (!complaints.empty()) throw Error(op + ":" + complaints.substr(1));

  for (const auto& [name, tensor] : into) {
    Tensor target = tensor;
    copy(from.at(name), target);
  }
}

}  // namespace subquad::nn
