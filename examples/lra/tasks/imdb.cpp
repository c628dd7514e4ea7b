#include "subquad/examples/lra/tasks/imdb.h"

#include <algorithm>

#include "subquad/core/error.h"
#include "subquad/core/file.h"
#include "subquad/examples/lra/tasks/lines.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

const char* sentiment(bool positive) {
  return positive ? "pos" : "neg";
}

bool rating_fits(bool positive, std::uint64_t rating) {
  return positive ? rating >= 7 && rating <= 10 : rating >= 1 && rating <= 4;
}

const char* ratings(bool positive) {
  return positive ? "a positive review has 7..10" : "a negative review has 1..4";
}

std::string tsv_name(const std::string& set) {
  return cat("imdb_", set, ".tsv");
}

bool has_tsv(const std::string& folder) {
  return fs::exists(fs::path(folder) / tsv_name("train")) || fs::exists(fs::path(folder) / tsv_name("test"));
}

// The tree's root below the folder.
fs::path tree_root(const std::string& folder) {
  return fs::is_directory(fs::path(folder) / "aclImdb") ? "aclImdb" : "";
}

fs::path page_list(const std::string& folder, const std::string& set, bool positive) {
  return tree_root(folder) / set / cat("urls_", sentiment(positive), ".txt");
}

void check_both_kinds(const fs::path& path, const std::vector<Review>& reviews) {
  if (reviews.empty()) throw FormatError(cat(path.string(), ": there is no review in it"));
  const auto positive = std::count_if(reviews.begin(), reviews.end(), [](const Review& r) { return r.positive; });
  if (positive == 0 || positive == std::ssize(reviews))
    throw FormatError(cat(path.string(), ": all ", reviews.size(), " reviews are ",
                          positive == 0 ? "negative" : "positive", ", expected both kinds"));
}

Review parse_row(const LineReader& lines) {
  const std::vector<std::string_view> fields = split_tabs(lines.text(), 5);
  if (fields.size() != 5)
    lines.fail(cat(fields.size(), fields.size() == 1 ? " field" : " fields",
                   ", expected 5: label, rating, id, film and text with tabs between them"));
  if (fields[0] != "0" && fields[0] != "1") lines.fail(cat("label is ", quoted(fields[0]), ", expected 0 or 1"));
  const auto whole = [&](const char* name, std::size_t field) {
    const auto value = parse_whole(fields[field]);
    if (!value) lines.fail(cat(name, " is ", quoted(fields[field]), ", expected a whole number"));
    return *value;
  };
  Review review;
  review.positive = fields[0] == "1";
  if (const auto rating = whole("rating", 1); !rating_fits(review.positive, rating))
    lines.fail(cat("rating is ", rating, ", but ", ratings(review.positive)));
  review.id = whole("id", 2);
  review.film = whole("film", 3);
  if (review.film == 0) lines.fail("film is 0, expected the number of an IMDb page");
  if (fields[4].empty()) lines.fail("the text is empty");
  review.text = fields[4];
  return review;
}

std::vector<Review> read_tsv(const fs::path& path) {
  std::vector<Review> reviews;
  LineReader lines(path);
  while (lines.next())
    if (!lines.text().empty()) reviews.push_back(parse_row(lines));
  check_both_kinds(path, reviews);
  return reviews;
}

// The films of a page list, one a line: http://www.imdb.com/title/tt0453418/usercomments
std::vector<std::uint64_t> read_films(const fs::path& path) {
  constexpr std::string_view kLead = "/title/tt";
  std::vector<std::uint64_t> films;
  LineReader lines(path);
  while (lines.next()) {
    const std::string_view text = lines.text();
    std::string_view digits = text.substr(std::min(text.size(), text.find(kLead)));
    digits.remove_prefix(std::min(digits.size(), kLead.size()));
    const auto film = parse_whole(digits.substr(0, digits.find_first_not_of("0123456789")));
    if (film.value_or(0) == 0)
      lines.fail(cat(quoted(text), " is no film's page, expected an address with ", kLead, "0123456"));
    films.push_back(*film);
  }
  return films;
}

Review parse_name(const fs::path& path, bool positive) {
  const std::string name = path.filename().string();
  const std::string stem = path.stem().string();
  const std::size_t line = std::min(stem.find('_'), stem.size());
  const auto id = parse_whole(stem.substr(0, line));
  const auto rating = parse_whole(stem.substr(std::min(line + 1, stem.size())));
  if (path.extension() != ".txt" || !id || !rating)
    throw FormatError(cat(path.string(), ": a file ", quoted(name), " among reviews, expected names such as 0_9.txt"));
  if (!rating_fits(positive, *rating))
    throw FormatError(cat(path.string(), ": the rating in its name is ", *rating, ", but ", ratings(positive)));
  return {.text = {}, .positive = positive, .id = *id};
}

std::string read_whole_file(const fs::path& path) {
  const InputFile file(path);
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  if (text.empty()) throw FormatError(cat(path.string(), ": the file is empty, expected the text of a review"));
  return text;
}

// The reviews of one kind, in whatever order the directory has them.
void read_directory(const fs::path& folder, bool positive, const std::vector<std::uint64_t>* films,
                    const fs::path& list, std::vector<Review>& reviews) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with('.')) continue;
    Review review = parse_name(entry.path(), positive);
    review.text = read_whole_file(entry.path());
    if (films != nullptr && review.id >= films->size())
      throw FormatError(cat(list.string(), ": ", films->size(), " lines, expected one for each review, but there is ",
                            entry.path().string(), ", whose page is line ", review.id + 1));
    if (films != nullptr) review.film = (*films)[review.id];
    reviews.push_back(std::move(review));
  }
}

std::vector<Review> read_tree(const std::string& folder, const std::string& set) {
  const fs::path root = fs::path(folder) / tree_root(folder) / set;
  const bool known = !missing_page_list(folder, set);
  std::vector<Review> reviews;
  for (const bool positive : {true, false}) {
    const fs::path list = fs::path(folder) / page_list(folder, set, positive);
    const std::vector<std::uint64_t> films = known ? read_films(list) : std::vector<std::uint64_t>();
    read_directory(root / sentiment(positive), positive, known ? &films : nullptr, list, reviews);
  }
  // Two files of one id, which the archive does not have, come in the order of their texts.
  std::sort(reviews.begin(), reviews.end(), [](const Review& a, const Review& b) {
    return std::tuple(a.id, !a.positive, std::string_view(a.text)) <
           std::tuple(b.id, !b.positive, std::string_view(b.text));
  });
  check_both_kinds(root, reviews);
  return reviews;
}

}  // namespace

std::vector<ExpectedFile> imdb_files(const std::string& folder) {
  std::vector<std::string> paths;
  const bool tree = fs::is_directory(fs::path(folder) / "aclImdb") || fs::is_directory(fs::path(folder) / "train");
  for (const char* set : {"train", "test"}) {
    if (has_tsv(folder) || !tree) {
      paths.push_back(tsv_name(set));
    } else {
      for (const bool positive : {true, false})
        paths.push_back((tree_root(folder) / set / sentiment(positive) / "").string());
    }
  }
  std::vector<ExpectedFile> files;
  for (const std::string& path : paths) files.push_back({path, fs::exists(fs::path(folder) / path)});
  return files;
}

std::optional<std::string> missing_page_list(const std::string& folder, const std::string& set) {
  if (has_tsv(folder)) return std::nullopt;
  for (const bool positive : {true, false}) {
    const fs::path list = page_list(folder, set, positive);
    if (!fs::exists(fs::path(folder) / list)) return list.string();
  }
  return std::nullopt;
}

std::vector<Review> read_imdb(const std::string& folder, const std::string& set) {
  return has_tsv(folder) ? read_tsv(fs::path(folder) / tsv_name(set)) : read_tree(folder, set);
}

}  // namespace subquad::lra
