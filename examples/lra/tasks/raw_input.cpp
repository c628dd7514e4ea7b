#include "subquad/examples/lra/tasks/raw_input.h"

#include <map>

#include "subquad/core/error.h"

namespace subquad::lra {

const InputKind& input_kind(const std::string& task) {
  static const InputKind text = {"a text", false, encode_text};
  static const std::map<std::string, InputKind> kinds = {
      {"listops", {"an expression such as \"[MAX 2 9 [MIN 4 7 ] 0 ]\"", false, encode_listops}},
      {"text", text},
      {"custom", text},
      {"imdb-pairs", text},
      {"retrieval", {"a text", false, encode_retrieval}},
      {"image", {"a PNG image of 32 x 32 pixels, or 1024 bytes, a grey pixel each", true, encode_image}},
      {"pathfinder", {"a grey PNG image of 32 x 32 pixels", true, encode_pathfinder}},
      {"path-x", {"a grey PNG image of 128 x 128 pixels", true, encode_path_x}}};
  const auto found = kinds.find(task);
  if (found == kinds.end()) throw Error(cat("task ", task, ": it is not said how one input is read"));
  return found->second;
}

}  // namespace subquad::lra
