// Long Range Arena's Retrieval: pairs of papers of the ACL Anthology Network, told apart by whether one cites the
// other. Lines of the files are label, id, id, text, text with tabs between them, without header or quotes; the label
// is a number, 0.0 or 1.0; a text may be empty, as LRA's pipeline has it. Source: Tay et al., "Long Range Arena" (ICLR
// 2021), and its input pipeline.
#include <charconv>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/kinds.h"
#include "subquad/examples/lra/tasks/lines.h"
#include "subquad/examples/lra/tasks/raw_input.h"
#include "subquad/examples/lra/tasks/texts.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

std::string file_name(const char* set) {
  return cat("new_aan_pairs.", set, ".tsv");
}

std::vector<ExpectedFile> expected(const std::string& folder) {
  std::vector<ExpectedFile> files;
  for (const char* set : {"train", "eval", "test"})
    files.push_back({file_name(set), fs::exists(fs::path(folder) / file_name(set))});
  return files;
}

std::int64_t parse_label(const LineReader& lines, std::string_view text) {
  double label = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), label);
  if (error != std::errc() || end != text.data() + text.size() || (label != 0 && label != 1))
    lines.fail(cat("label is ", quoted(text), ", expected 0.0 or 1.0"));
  return static_cast<std::int64_t>(label);
}

// What LRA reads of a document before it cuts it to its length.
std::string_view source_text(std::string_view text) {
  constexpr std::size_t kSourceBytes = 10'000;
  return text.substr(0, kSourceBytes);
}

Sequences read_pairs(const fs::path& path, TextCut& cut) {
  Sequences set = texts(2);
  LineReader lines(path);
  Index citing = 0;
  while (lines.next()) {
    if (lines.text().empty()) continue;
    const std::vector<std::string_view> fields = split_tabs(lines.text());
    if (fields.size() != 5)
      lines.fail(cat(fields.size(), fields.size() == 1 ? " field" : " fields",
                     ", expected 5: label, id, id, text and text with tabs between them"));
    const std::int64_t label = parse_label(lines, fields[0]);
    set.append_bytes({cut(source_text(fields[3])), cut(source_text(fields[4]))}, label);
    citing += label;
  }
  if (set.size() == 0) throw FormatError(cat(path.string(), ": there is no pair in it"));
  if (citing == 0 || citing == set.size())
    throw FormatError(cat(path.string(), ": all ", set.size(), " labels are ", citing == 0 ? 0 : 1, ", expected both"));
  return set;
}

Task load(const TaskSource& source) {
  const auto path = [&](const char* set) { return fs::path(source.folder) / file_name(set); };
  Task task;
  task.name = "retrieval";
  task.shape = {.vocabulary = kTextVocabulary, .classes = 2, .parts = 2};
  task.class_names = {"no citation", "citation"};
  TextCut cut(source.cut);
  task.train = read_pairs(path("train"), cut);
  task.validation = read_pairs(path("eval"), cut);
  task.test = read_pairs(path("test"), cut);
  task.notes = {cut.note()};
  return task;
}

}  // namespace

EncodedInput encode_retrieval(const TaskSource& source, const RawInput& raw) {
  return encode_text(source, {raw.name, std::string(source_text(raw.bytes))});
}

TaskKind retrieval_kind() {
  return {.name = "retrieval",
          .about = "whether one of two papers cites the other",
          .nominal = kTextLength,
          .texts = true,
          .origin =
              "it is the folder tsv_data of LRA's archive lra_release.gz, see "
              "https://github.com/google-research/long-range-arena; on film reviews instead: --task imdb-pairs",
          .expected = expected,
          .load = load};
}

}  // namespace subquad::lra
