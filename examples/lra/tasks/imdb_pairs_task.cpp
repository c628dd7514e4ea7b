#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/imdb_pairs.h"
#include "subquad/examples/lra/tasks/kinds.h"

namespace subquad::lra {

namespace {

constexpr Index kTrainingPairs = 40'000, kOtherPairs = 4'000;  // half of each set of one film

Sequences pair_up(const std::vector<Review>& reviews, Index count, std::uint64_t seed, TextCut& cut) {
  const ReviewPairs pairs = draw_pairs(reviews, count / 2, seed);
  Sequences set = texts(2);
  const auto append = [&](const ReviewPair& pair, std::int64_t label) {
    set.append_bytes({cut(reviews[pair.first].text), cut(reviews[pair.second].text)}, label);
  };
  for (std::size_t i = 0; i < pairs.same.size(); ++i) {
    append(pairs.same[i], 1);
    append(pairs.different[i], 0);
  }
  return set;
}

std::vector<Review> read(const TaskSource& source, const std::string& set) {
  if (const auto missing = missing_page_list(source.folder, set))
    throw Error(cat("--data ", source.folder, ": there is no ", *missing,
                    ", which says what films the reviews are of. It comes with aclImdb_v1.tar.gz"));
  return read_imdb(source.folder, set);
}

Task load(const TaskSource& source) {
  std::vector<Review> training, held_out;
  for (Review& review : read(source, "train"))
    (for_validation(review) ? held_out : training).push_back(std::move(review));
  Task task;
  task.name = "imdb-pairs";
  task.shape = {.vocabulary = kTextVocabulary, .classes = 2, .parts = 2};
  task.class_names = {"two films", "one film"};
  TextCut cut(source.cut);
  task.train = pair_up(training, kTrainingPairs, 1, cut);
  task.validation = pair_up(held_out, kOtherPairs, 2, cut);
  task.test = pair_up(read(source, "test"), kOtherPairs, 3, cut);
  task.notes = {"not LRA's Retrieval: the pairs are film reviews, drawn by ourselves; no published score is comparable",
                "validation is on films whose number divides by 10; none of these is trained on",
                "each review is as often first, and as often second, in pairs of one film as in pairs of two",
                cut.note()};
  return task;
}

}  // namespace

TaskKind imdb_pairs_kind() {
  return {.name = "imdb-pairs",
          .about = "whether two film reviews are of one film",
          .nominal = kTextLength,
          .texts = true,
          .in_lra = false,
          .origin = kImdbOrigin,
          .expected = imdb_files,
          .load = load};
}

}  // namespace subquad::lra
