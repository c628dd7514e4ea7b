// Tiny data in the forms of the Large Movie Review Dataset.
#pragma once

#include <filesystem>
#include <fstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/imdb.h"

namespace subquad::test {

// With the folders it is in.
inline void make_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// `films` films with `each` reviews, every second one positive, in the order of the data's tsv; film f's number is
// `first_film` + f. No two texts are the same.
inline std::vector<lra::Review> made_reviews(Index films, Index each, Index first_film, const std::string& lead) {
  std::vector<lra::Review> reviews;
  for (Index i = 0; i < films * each; ++i)
    reviews.push_back({.text = cat(lead, ' ', i),
                       .positive = i % 2 == 0,
                       .id = static_cast<std::uint64_t>(i / 2),
                       .film = static_cast<std::uint64_t>(first_film + i / each)});
  return reviews;
}

inline std::string tsv_row(const lra::Review& review) {
  return cat(review.positive ? "1\t8\t" : "0\t2\t", review.id, '\t', review.film, '\t', review.text, '\n');
}

inline void write_imdb_tsv(const std::filesystem::path& path, const std::vector<lra::Review>& reviews) {
  std::string text;
  for (const lra::Review& review : reviews) text += tsv_row(review);
  make_file(path, text);
}

// Of ids 0, 1, 2, ... in either kind.
inline void write_imdb_tree(const std::filesystem::path& set, const std::vector<lra::Review>& reviews) {
  std::string pages[2];
  for (const lra::Review& review : reviews) {
    make_file(set / (review.positive ? "pos" : "neg") / cat(review.id, review.positive ? "_8.txt" : "_2.txt"),
              review.text);
    pages[review.positive ? 1 : 0] += cat("http://www.imdb.com/title/tt000", review.film, "/usercomments\n");
  }
  make_file(set / "urls_neg.txt", pages[0]);
  make_file(set / "urls_pos.txt", pages[1]);
}

}  // namespace subquad::test
