// The Large Movie Review Dataset: 25,000 reviews of films to train on and 25,000 to test, half of each positive.
// Source: Maas et al., "Learning Word Vectors for Sentiment Analysis" (ACL 2011).
//
// A folder holds it in one of two forms:
//   imdb_train.tsv, imdb_test.tsv   a line a review: label, rating, id, film, text with tabs between them; the text is
//                                   all after the fourth. The label is 1 (rating 7..10) or 0 (1..4), `film` the number
//                                   in the address of its IMDb page.
//   {train,test}/{pos,neg}/         a file ID_RATING.txt a review, as the archive is unpacked; all this stands in the
//                                   folder or in its folder aclImdb. Line n (from 0) of train/urls_pos.txt is the page
//                                   of the film that the positive review n is of, and so on.
#pragma once

#include <optional>
#include <vector>

#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

struct Review {
  std::string text;  // bytes as they stand in the file; no encoding is asked for
  bool positive = false;
  std::uint64_t id = 0;
  std::uint64_t film = 0;  // 0: not known, for want of the page lists
};

// Those of the tsv files when there is one of them, else of the tree; with none of either, those of the tsv form.
std::vector<ExpectedFile> imdb_files(const std::string& folder);

// The first of a set's page lists that is missing, as a path below the folder; nullopt where films are known.
std::optional<std::string> missing_page_list(const std::string& folder, const std::string& set);

// `set` is "train" or "test". The tsv's order; the tree's by id, positive first, which is our tsv's, too. FormatError
// with path and line for a wrong number of fields, a label, rating, id, film or file name that cannot be, an empty
// text, an id without a line in its page list, and a set without reviews of both kinds. Hidden files are passed over.
std::vector<Review> read_imdb(const std::string& folder, const std::string& set);

// The films kept out of training: those whose number is divisible by 10; 2,500 of the 25,000 reviews.
inline bool for_validation(const Review& review) {
  return review.film % 10 == 0;
}

// Where users get it.
inline constexpr const char* kImdbOrigin =
    "it comes as aclImdb_v1.tar.gz from https://ai.stanford.edu/~amaas/data/sentiment; give the folder with aclImdb/, "
    "or "
    "with imdb_train.tsv and imdb_test.tsv";

}  // namespace subquad::lra
