
#include <algorithm>
#include <filesystem>
#include <utility>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/kinds.h"
#include "subquad/examples/lra/tasks/png.h"
#include "subquad/examples/lra/tasks/raw_input.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

constexpr const char* kBatches[] = {"data_batch_1", "data_batch_2", "data_batch_3",
                                    "data_batch_4", "data_batch_5", "test_batch"};
constexpr Index kCifarSide = 32;
constexpr Index kValidationRecords = 5000;  // the last ones of data_batch_5

// Of the images of test_batch as TensorFlow's rule makes them grey, in the order of the published file.
constexpr std::uint64_t kTensorflowTestHash = 0xcafb1d4ea1071ad8u;

// Where the six files are, and what they are.
struct Place {
  std::string below;  // the folder: "" or a subfolder's name and "/"
  CifarForm form = CifarForm::colour;
};

std::vector<ExpectedFile> files(const std::string& folder, const Place& place) {
  std::vector<ExpectedFile> found;
  for (const char* batch : kBatches) {
    const std::string name = cat(place.below, batch, place.form == CifarForm::colour ? ".bin" : ".gray.bin");
    found.push_back({name, fs::exists(fs::path(folder) / name)});
  }
  return found;
}

// The one with the most files; of several with as many, the first: the folder itself before its subfolders, which bear
// the names that archives have, and colour before grey.
Place place_in(const std::string& folder) {
  const auto present = [&](const Place& place) {
    const std::vector<ExpectedFile> all = files(folder, place);
    return std::count_if(all.begin(), all.end(), [](const ExpectedFile& file) { return file.present; });
  };
  Place best;
  for (const char* below : {"", "cifar-10-batches-bin/", "cifar-10-gray/"})
    for (const CifarForm form : {CifarForm::colour, CifarForm::grey})
      if (const Place place = {below, form}; present(place) > present(best)) best = place;
  return best;
}

std::vector<ExpectedFile> expected(const std::string& folder) {
  return files(folder, place_in(folder));
}

void append(Sequences& to, const Sequences& from, Index begin, Index end) {
  for (Index i = begin; i < end; ++i) to.append_bytes({from.bytes(i)}, from.label(i));
}

// What is known of how the images became grey.
std::string grey_note(const Place& place, bool colourful, GreyRule rule, const Sequences& test) {
  if (colourful) return cat("grey by the rule of ", grey_rule_name(rule));
  const char* const found = place.form == CifarForm::colour
                                ? "the files have the form of colours but hold grey images: all planes are the same"
                                : "the files hold grey images";
  return cat(found, test.hash() == kTensorflowTestHash ? "; as TensorFlow's rule makes them, going by the test set"
                                                       : "; it is not known by which rule they were made");
}

Task load(const TaskSource& source) {
  const Place place = place_in(source.folder);
  const std::vector<ExpectedFile> names = files(source.folder, place);
  bool colourful = false;
  const auto read = [&](std::size_t i) {
    CifarFile file = read_cifar(fs::path(source.folder) / names[i].path, place.form, source.grey);
    colourful = colourful || file.colourful;
    return std::move(file.images);
  };
  Task task;
  task.name = source.grey == GreyRule::tensorflow ? "image" : cat("image, grey by ", grey_rule_name(source.grey));
  task.shape = {.vocabulary = 256, .classes = kCifarClasses};
  task.train.reserve(5 * kCifarRecords - kValidationRecords, (5 * kCifarRecords - kValidationRecords) * kCifarPixels);
  for (std::size_t i = 0; i < 4; ++i) append(task.train, read(i), 0, kCifarRecords);
  const Sequences last = read(4);
  append(task.train, last, 0, kCifarRecords - kValidationRecords);
  append(task.validation, last, kCifarRecords - kValidationRecords, kCifarRecords);
  task.test = read(5);
  if (!colourful && source.grey != GreyRule::tensorflow)
    throw Error(cat("--grey ", grey_rule_name(source.grey), ": the images in ", source.folder, "/", place.below,
                    " are grey already; expected the colour files, ", kBatches[0], ".bin and so on"));
  task.class_names.assign(std::begin(kCifarNames), std::end(kCifarNames));
  task.notes = {cat("validation is the last ", kValidationRecords, " records of data_batch_5; LRA's are ",
                    kValidationRecords, " others of the training files"),
                grey_note(place, colourful, source.grey, task.test)};
  return task;
}

}  // namespace

// A PNG image, grey or in colours, or 1,024 grey pixels without a label.
EncodedInput encode_image(const TaskSource& source, const RawInput& raw) {
  const std::span file(reinterpret_cast<const std::uint8_t*>(raw.bytes.data()), raw.bytes.size());
  EncodedInput encoded;
  if (is_png(file)) {
    const ColourImage image = decode_colour_png(raw.name, file);
    check_png_size(raw.name, image.width, image.height, kCifarSide);
    for (std::size_t p = 0; p < image.pixels.size(); p += static_cast<std::size_t>(image.channels)) {
      const std::uint8_t* pixel = &image.pixels[p];
      encoded.tokens.push_back(image.channels == 1 ? pixel[0] : grey(source.grey, pixel[0], pixel[1], pixel[2]));
    }
  } else {
    const Index size = std::ssize(raw.bytes);
    if (size == 0) throw FormatError(cat(raw.name, ": the file is empty"));
    if (size != kCifarPixels)
      throw FormatError(cat(raw.name, ": ", size, " bytes that are no PNG image, expected one of ", kCifarSide, " x ",
                            kCifarSide, " pixels, or ", kCifarPixels, " bytes, a grey pixel each"));
    encoded.tokens.assign(file.begin(), file.end());
  }
  return encoded;
}

TaskKind image_kind() {
  return {.name = "image",
          .about = "classes of CIFAR-10's images in grey, a token a pixel",
          .nominal = kCifarPixels,
          .origin =
              "take the folder cifar-10-batches-bin, which is CIFAR-10's \"binary version\" unpacked, from "
              "https://www.cs.toronto.edu/~kriz/cifar.html",
          .expected = expected,
          .load = load};
}

}  // namespace subquad::lra
