#include "subquad/examples/lra/tasks/pathfinder_folder.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "subquad/core/file.h"
#include "subquad/core/parallel.h"
#include "subquad/core/rng.h"
#include "subquad/examples/lra/tasks/png.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

// What stood in the file, short enough for a message, without control characters.
std::string in_quotes(std::string_view text) {
  const std::string head(text.substr(0, 40));
  return nlohmann::json(head).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

// Sends each image to its set.
class Split {
 public:
  Split(const fs::path& from, Index images, Index side) : from_(from), set_(static_cast<std::size_t>(images)) {
    constexpr Index kFewest = 10;  // no set is empty then
    if (images < kFewest) throw FormatError(cat(from.string(), ": ", images, " images, expected at least ", kFewest));
    const Index train = images * 8 / 10, validation = images / 10;
    std::fill_n(set_.begin(), train, &sets_.train);
    std::fill_n(set_.begin() + train, validation, &sets_.validation);
    std::fill(set_.begin() + train + validation, set_.end(), &sets_.test);
    Rng rng(42, stream_id("pathfinder split"));
    for (Index i = images - 1; i > 0; --i)
      std::swap(set_[static_cast<std::size_t>(i)], set_[static_cast<std::size_t>(rng.below(i + 1))]);
    sets_.train.reserve(train, train * side * side);
    sets_.validation.reserve(validation, validation * side * side);
    sets_.test.reserve(images - train - validation, (images - train - validation) * side * side);
  }

  void append(std::span<const std::uint8_t> pixels, int label) {
    set_[used_++]->append_bytes({pixels}, label);
    ones_ += label;
  }

  PathfinderSets finish() {
    const auto images = static_cast<Index>(set_.size());
    if (ones_ == 0 || ones_ == images)
      throw FormatError(cat(from_.string(), ": the labels of all ", images, " images are ", ones_ == 0 ? 0 : 1,
                            ", expected 0 and 1"));
    return std::move(sets_);
  }

 private:
  fs::path from_;
  PathfinderSets sets_;
  std::vector<Sequences*> set_;  // of each image
  std::size_t used_ = 0;
  Index ones_ = 0;
};

PathfinderSets read_packed(const fs::path& path, Index side) {
  const InputFile file(path);
  const auto record = static_cast<std::uint64_t>(1 + side * side);
  if (file.size() % record != 0)
    throw FormatError(cat(path.string(), ": ", file.size(), " bytes, expected a multiple of ", record,
                          " = a label and ", side, " x ", side, " pixels"));
  const std::uint64_t images = file.size() / record, at_once = (std::uint64_t{8} << 20) / record;
  Split split(path, static_cast<Index>(images), side);
  std::vector<std::uint8_t> block;
  for (std::uint64_t first = 0; first < images; first += at_once) {
    block.resize(static_cast<std::size_t>(std::min(at_once, images - first) * record));
    file.read(first * record, std::as_writable_bytes(std::span(block)));
    for (std::size_t at = 0; at < block.size(); at += record) {
      if (block[at] > 1)
        fail_format(path, first * record + at, cat("the label is ", int{block[at]}, ", expected 0 or 1"));
      split.append(std::span(block).subspan(at + 1, record - 1), block[at]);
    }
  }
  return split.finish();
}

// metadata/0.npy, metadata/1.npy, ... by number; files of other names are not LRA's.
std::vector<fs::path> metadata_files(const fs::path& folder) {
  std::vector<std::pair<Index, fs::path>> found;
  if (fs::is_directory(folder / "metadata")) {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder / "metadata")) {
      const std::string stem = entry.path().stem().string();
      Index number = 0;
      const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
      if (error == std::errc() && end == stem.data() + stem.size() && entry.path().extension() == ".npy")
        found.emplace_back(number, entry.path());
    }
  }
  if (found.empty()) throw Error(cat(folder.string(), ": there is neither ", kPathfinderPacked, " nor metadata/0.npy"));
  std::sort(found.begin(), found.end());
  std::vector<fs::path> paths;
  for (auto& [number, path] : found) paths.push_back(std::move(path));
  return paths;
}

// The lines of all files but for those of empty images, which are counted in `sets`.
std::vector<PathfinderLine> images_in(const fs::path& folder, PathfinderSets& sets) {
  std::vector<PathfinderLine> images;
  for (const fs::path& path : metadata_files(folder)) {
    for (PathfinderLine& line : read_pathfinder_metadata(path)) {
      std::error_code missing;
      const std::uintmax_t bytes = fs::file_size(folder / line.image, missing);
      if (missing) throw Error(cat(path.string(), " names ", line.image, ": ", missing.message()));
      if (bytes > 0)
        images.push_back(std::move(line));
      else if (sets.empty++ == 0)
        sets.first_empty = line.image;
    }
  }
  return images;
}

std::vector<std::uint8_t> read_pixels(const fs::path& path, Index side) {
  GreyImage image = read_png(path);
  check_png_size(path, image.width, image.height, side);
  return std::move(image.pixels);
}

PathfinderSets read_images(const fs::path& folder, Index side) {
  PathfinderSets found;
  const std::vector<PathfinderLine> images = images_in(folder, found);
  Split split(folder, static_cast<Index>(images.size()), side);
  constexpr std::size_t kAtOnce = 1024;
  std::vector<std::vector<std::uint8_t>> pixels(kAtOnce);
  for (std::size_t first = 0; first < images.size(); first += kAtOnce) {
    const std::size_t count = std::min(kAtOnce, images.size() - first);
    parallel_for(static_cast<Index>(count), 100'000, [&](Index i) {
      const auto at = static_cast<std::size_t>(i);
      pixels[at] = read_pixels(folder / images[first + at].image, side);
    });
    for (std::size_t i = 0; i < count; ++i) split.append(pixels[i], images[first + i].label);
  }
  PathfinderSets sets = split.finish();
  sets.empty = found.empty;
  sets.first_empty = found.first_empty;
  return sets;
}

}  // namespace

std::string pathfinder_folder(Index side, PathfinderLevel level) {
  constexpr std::array<const char*, 3> kNames = {"curv_baseline", "curv_contour_length_9", "curv_contour_length_14"};
  return cat("pathfinder", side, "/", kNames[static_cast<std::size_t>(level)]);
}

std::vector<PathfinderLine> read_pathfinder_metadata(const fs::path& path) {
  constexpr std::size_t kLabel = 3;  // field, from 0
  InputFile{path};                   // says it better than a stream when it is missing or a folder
  std::ifstream in(path, std::ios::binary);
  std::vector<PathfinderLine> lines;
  Index number = 0;
  for (std::string text; std::getline(in, text);) {
    ++number;
    std::istringstream words(text);
    std::vector<std::string> fields;
    for (std::string word; fields.size() <= kLabel && words >> word;) fields.push_back(word);
    if (fields.empty()) continue;
    const auto fail = [&](const std::string& what) {
      throw FormatError(cat(path.string(), ": line ", number, ": ", what));
    };
    if (fields.size() <= kLabel)
      fail(cat(fields.size(), fields.size() == 1 ? " field" : " fields",
               ", expected at least 4: subfolder, file name, index, label"));
    if (fields[kLabel] != "0" && fields[kLabel] != "1")
      fail(cat("field 4: label ", in_quotes(fields[kLabel]), ", expected 0 or 1"));
    lines.push_back({fields[0] + "/" + fields[1], fields[kLabel] == "1" ? 1 : 0});
  }
  if (in.bad()) throw Error(cat("cannot read ", path.string(), " after line ", number));
  if (lines.empty()) throw FormatError(cat(path.string(), ": no line names an image"));
  return lines;
}

std::string pathfinder_metadata_line(Index block, Index index, const PathfinderImage& image,
                                     const PathfinderRules& rules) {
  const int contrasts = 1;
  return cat("imgs/", block, " sample_", index, ".png ", index, " ", image.label, " ", rules.continuity, " ",
             rules.contour_length, " ", rules.distractor_length, " ", rules.paddle_length, " ", rules.thickness, " ",
             image.margin, " ", contrasts, "\n");
}

PathfinderSets read_pathfinder(const fs::path& folder, Index side) {
  return fs::exists(folder / kPathfinderPacked) ? read_packed(folder / kPathfinderPacked, side)
                                                : read_images(folder, side);
}

}  // namespace subquad::lra
