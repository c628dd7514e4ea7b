
#include <algorithm>
#include <filesystem>

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

std::vector<ExpectedFile> files(const std::string& folder, CifarForm form) {
  std::vector<ExpectedFile> found;
  for (const char* batch : kBatches) {
    const std::string name = cat(batch, form == CifarForm::colour ? ".bin" : ".gray.bin");
    found.push_back({name, fs::exists(fs::path(folder) / name)});
  }
  return found;
}

// The form of which a folder has more files; colour where it has as many of both.
CifarForm form_in(const std::string& folder) {
  const auto present = [&](CifarForm form) {
    const std::vector<ExpectedFile> all = files(folder, form);
    return std::count_if(all.begin(), all.end(), [](const ExpectedFile& file) { return file.present; });
  };
  return present(CifarForm::grey) > present(CifarForm::colour) ? CifarForm::grey : CifarForm::colour;
}

std::vector<ExpectedFile> expected(const std::string& folder) {
  return files(folder, form_in(folder));
}

void append(Sequences& to, const Sequences& from, Index begin, Index end) {
  for (Index i = begin; i < end; ++i) to.append_bytes({from.bytes(i)}, from.label(i));
}

Task load(const TaskSource& source) {
  const CifarForm form = form_in(source.folder);
  if (form == CifarForm::grey && source.grey != GreyRule::tensorflow)
    throw Error(cat("--grey ", grey_rule_name(source.grey), ": the images in ", source.folder,
                    " are grey already; expected the colour files, ", kBatches[0], ".bin and so on"));
  const std::vector<ExpectedFile> names = files(source.folder, form);
  const auto read = [&](std::size_t i) {
    return read_cifar(fs::path(source.folder) / names[i].path, form, source.grey);
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
  task.class_names.assign(std::begin(kCifarNames), std::end(kCifarNames));
  task.notes = {cat("validation is the last ", kValidationRecords, " records of data_batch_5; LRA's are ",
                    kValidationRecords, " others of the training files"),
                form == CifarForm::grey ? "the files hold grey images"
                                        : cat("grey by the rule of ", grey_rule_name(source.grey))};
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
