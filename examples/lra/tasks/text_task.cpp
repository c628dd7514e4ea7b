#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/imdb.h"
#include "subquad/examples/lra/tasks/kinds.h"
#include "subquad/examples/lra/tasks/texts.h"

namespace subquad::lra {

namespace {

// To validation and to training, by film.
void split(const TaskSource& source, const std::vector<Review>& reviews, TextCut& cut, Task& task) {
  for (const Review& review : reviews)
    (for_validation(review) ? task.validation : task.train).append_bytes({cut(review.text)}, review.positive);
  if (task.validation.size() == 0 || task.train.size() == 0)
    throw Error(cat("--data ", source.folder, ": ", task.train.size() == 0 ? "all" : "none", " of its ", reviews.size(),
                    " training reviews are of films whose number divides by 10, which are for validation; "
                    "--paper-protocol validates on the test set"));
  task.notes.push_back(cat("validation is on the ", task.validation.size(),
                           " training reviews of films whose number divides by 10; none of these films is trained on"));
}

Task load(const TaskSource& source) {
  const auto missing = missing_page_list(source.folder, "train");
  if (missing && !source.paper_protocol)
    throw Error(cat("--data ", source.folder, ": there is no ", *missing,
                    ", which says what films the reviews are of, so none can be kept for validation. It comes with "
                    "aclImdb_v1.tar.gz; --paper-protocol does without and validates on the test set"));
  Task task;
  task.name = "text";
  task.shape = {.vocabulary = kTextVocabulary, .classes = 2};
  task.class_names = {"negative", "positive"};
  task.train = task.validation = task.test = texts();
  TextCut cut(source.cut);
  const std::vector<Review> training = read_imdb(source.folder, "train");
  if (source.paper_protocol)
    for (const Review& review : training) task.train.append_bytes({cut(review.text)}, review.positive);
  else
    split(source, training, cut, task);
  for (const Review& review : read_imdb(source.folder, "test"))
    task.test.append_bytes({cut(review.text)}, review.positive);
  if (source.paper_protocol) {
    task.validation = task.test;
    task.notes.emplace_back(
        "validation is on the test set (--paper-protocol): scores are of a checkpoint chosen by them");
  }
  task.notes.push_back(cut.note());
  return task;
}

}  // namespace

TaskKind text_kind() {
  return {.name = "text",
          .about = "sentiment of film reviews, a token a byte",
          .nominal = kTextLength,
          .texts = true,
          .origin = kImdbOrigin,
          .expected = imdb_files,
          .load = load};
}

}  // namespace subquad::lra
