#include "subquad/examples/lra/tasks/cifar.h"

#include <doctest/doctest.h>

#include "subquad/core/error.h"
#include "subquad/examples/lra/batches.h"
#include "subquad/examples/lra/tasks/task.h"
#include "subquad/tests/examples/train_lra_runs.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::lra;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using test::TemporaryFolder;
using test::write_text;

namespace fs = std::filesystem;

namespace {

// Plane c of a colour record's pixel p is value + p + 50 c modulo 256.
std::string record(int label, int planes, int value) {
  std::string bytes(1, static_cast<char>(label));
  for (int c = 0; c < planes; ++c)
    for (int p = 0; p < kCifarPixels; ++p) bytes += static_cast<char>(value + p + 50 * c);
  return bytes;
}

constexpr int kSeed = 7;  // any

// 10,000 grey records with labels 0..9 in turn; every image has one grey value but for its first two pixels, which are
// the number of the record, so that no two are the same.
void write_batch(const fs::path& path, int value) {
  std::string bytes;
  bytes.reserve(10'250'000);
  for (int i = 0; i < kCifarRecords; ++i) {
    bytes += static_cast<char>(i % 10);
    bytes.append(kCifarPixels, static_cast<char>(value));
    bytes[bytes.size() - kCifarPixels] = static_cast<char>(i / 256);
    bytes[bytes.size() - kCifarPixels + 1] = static_cast<char>(i % 256);
  }
  write_text(path, bytes);
}

void write_grey_folder(const fs::path& folder) {
  fs::create_directories(folder);
  for (int batch = 1; batch <= 5; ++batch) write_batch(folder / cat("data_batch_", batch, ".gray.bin"), kSeed * batch);
  write_batch(folder / "test_batch.gray.bin", kSeed * 6);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("grey: by TensorFlow's rule and by PIL's") {
  // TensorFlow's by its weights in real numbers, cut off after 255.5 / 255; PIL's by hand from its fixed-point weights.
  struct Case {
    int red, green, blue, tensorflow, pil;
  };
  for (const Case& c : {Case{0, 0, 0, 0, 0}, Case{255, 255, 255, 255, 255}, Case{255, 0, 0, 76, 76},
                        Case{0, 255, 0, 149, 150}, Case{0, 0, 255, 29, 29}, Case{59, 62, 63, 61, 61},
                        Case{1, 1, 1, 1, 1}, Case{200, 100, 50, 124, 124}, Case{10, 20, 31, 18, 18}}) {
    CAPTURE(c.red);
    CAPTURE(c.green);
    CHECK_EQ(grey(GreyRule::tensorflow, c.red, c.green, c.blue), c.tensorflow);
    CHECK_EQ(grey(GreyRule::pil, c.red, c.green, c.blue), c.pil);
  }
  for (int g = 0; g < 256; ++g) {
    CHECK_EQ(grey(GreyRule::tensorflow, g, g, g), g);
    CHECK_EQ(grey(GreyRule::pil, g, g, g), g);
  }
  CHECK_THROWS_WITH_AS(parse_grey_rule("lab"), "grey: 'lab', expected one of tensorflow, pil", Error);
}

TEST_CASE("cifar: records of colours and of grey") {
  const TemporaryFolder folder;
  write_text(folder / "colour.bin", record(3, 3, 0) + record(9, 3, 100));
  for (const GreyRule rule : {GreyRule::tensorflow, GreyRule::pil}) {
    const auto [set, colourful] = read_cifar(folder / "colour.bin", CifarForm::colour, rule, 2);
    CHECK(colourful);
    REQUIRE_EQ(set.size(), 2);
    CHECK_EQ(set.label(0), 3);
    CHECK_EQ(set.label(1), 9);
    REQUIRE_EQ(set.length(1), kCifarPixels);
    for (int p = 0; p < kCifarPixels; ++p) {
      const int red = (100 + p) % 256, green = (150 + p) % 256, blue = (200 + p) % 256;
      CHECK_EQ(set.tokens(1)[static_cast<std::size_t>(p)], grey(rule, red, green, blue));
    }
  }
  write_text(folder / "grey.bin", record(0, 1, 0) + record(5, 1, 17));
  const auto [set, colourful] = read_cifar(folder / "grey.bin", CifarForm::grey, GreyRule::tensorflow, 2);
  CHECK_FALSE(colourful);
  CHECK_EQ(set.label(1), 5);
  for (int p = 0; p < kCifarPixels; ++p) CHECK_EQ(set.tokens(1)[static_cast<std::size_t>(p)], (17 + p) % 256);
}

TEST_CASE("cifar: a file of another size, and a label that is none") {
  const TemporaryFolder folder;
  const fs::path path = folder / "batch.bin";
  const auto refused = [&](const std::string& bytes, CifarForm form, Index records, const std::string& what) {
    write_text(path, bytes);
    CHECK_THROWS_WITH_AS(read_cifar(path, form, GreyRule::tensorflow, records),
                         cat(path.string(), ": byte ", what).c_str(), FormatError);
  };
  refused(std::string(1000, 'x'), CifarForm::colour, kCifarRecords,
          "1000: 30730000 bytes expected, 10000 records of 3073, got 1000");
  refused("", CifarForm::grey, kCifarRecords, "0: 10250000 bytes expected, 10000 records of 1025, got 0");
  refused(record(1, 3, 0) + "x", CifarForm::colour, 1, "3073: 3073 bytes expected, 1 records of 3073, got 3074");
  refused(record(1, 3, 0) + record(10, 3, 0), CifarForm::colour, 2, "3073: record 1: label is 10, expected 0..9");
  refused(record(1, 1, 0) + record(255, 1, 0), CifarForm::grey, 2, "1025: record 1: label is 255, expected 0..9");
  CHECK_THROWS_AS(read_cifar(folder / "none.bin", CifarForm::grey), Error);
}

TEST_CASE("image: the last 5,000 records of data_batch_5 are the validation set") {
  const TemporaryFolder folder;
  write_grey_folder(folder.path());
  const Task task = load_task({.task = "image", .folder = folder.path().string()});
  CHECK_EQ(task.shape.vocabulary, 256);
  CHECK_EQ(task.shape.classes, 10);
  CHECK_EQ(task.class_names.at(9), "truck");
  CHECK_EQ(task.longest(), 1024);
  REQUIRE_EQ(task.train.size(), 45'000);
  REQUIRE_EQ(task.validation.size(), 5'000);
  REQUIRE_EQ(task.test.size(), 10'000);
  const auto holds = [](const Sequences& set, Index i, int batch, int number) {
    const std::vector<Token> tokens = set.token_list(i);
    return tokens[0] == number / 256 && tokens[1] == number % 256 && tokens[2] == kSeed * batch &&
           set.label(i) == number % 10;
  };
  CHECK(holds(task.train, 0, 1, 0));
  CHECK(holds(task.train, 10'000, 2, 0));
  CHECK(holds(task.train, 44'999, 5, 4'999));
  CHECK(holds(task.validation, 0, 5, 5'000));
  CHECK(holds(task.validation, 4'999, 5, 9'999));
  CHECK(holds(task.test, 9'999, 6, 9'999));

  CHECK_THROWS_WITH_AS(load_task({.task = "image", .folder = folder.path().string(), .grey = GreyRule::pil}),
                       cat("--grey pil: the images in ", folder.path().string(),
                           "/ are grey already; expected the colour files, data_batch_1.bin and so on")
                           .c_str(),
                       Error);
  fs::remove(folder / "data_batch_3.gray.bin");
  CHECK_THROWS_WITH_AS(load_task({.task = "image", .folder = folder.path().string()}),
                       doctest::Contains("there is no data_batch_3.gray.bin; take the folder cifar-10-batches-bin"),
                       Error);
  const TemporaryFolder empty;
  CHECK_THROWS_WITH_AS(load_task({.task = "image", .folder = empty.path().string()}),
                       doctest::Contains("there is no data_batch_1.bin; take the folder"), Error);
}

TEST_CASE("image: folders as archives leave them, of colours and of grey in the form of colours") {
  const TemporaryFolder folder;
  write_grey_folder(folder / "cifar-10-gray");
  const auto notes = [&](GreyRule rule = GreyRule::tensorflow) {
    return load_task({.task = "image", .folder = folder.path().string(), .grey = rule}).notes.at(1);
  };
  CHECK_EQ(notes(), "the files hold grey images; it is not known by which rule they were made");
  const Task grey = load_task({.task = "image", .folder = (folder / "cifar-10-gray").string()});

  // The same images, each plane of which is the grey one.
  const fs::path planes = folder / "cifar-10-batches-bin";
  fs::create_directories(planes);
  for (const fs::directory_entry& file : fs::directory_iterator(folder / "cifar-10-gray")) {
    const std::string bytes = test::read_text(file.path());
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 1 + kCifarPixels) {
      out += bytes[at];
      for (int plane = 0; plane < 3; ++plane) out.append(bytes, at + 1, kCifarPixels);
    }
    write_text(planes / (file.path().stem().stem().string() + ".bin"), out);
  }
  CHECK_EQ(notes(),
           "the files have the form of colours but hold grey images: all planes are the same; it is not known by which "
           "rule they were made");
  CHECK_EQ(load_task({.task = "image", .folder = folder.path().string()}).hash(), grey.hash());
  CHECK_THROWS_WITH_AS(notes(GreyRule::pil), doctest::Contains("cifar-10-batches-bin/ are grey already"), Error);

  std::string bytes = test::read_text(planes / "data_batch_5.bin");
  bytes[1] ^= 1;  // one red pixel
  write_text(planes / "data_batch_5.bin", bytes);
  CHECK_EQ(notes(), "grey by the rule of tensorflow");
  CHECK_EQ(notes(GreyRule::pil), "grey by the rule of pil");
  fs::remove(planes / "data_batch_1.bin");  // the folder that is complete is read then
  CHECK_EQ(notes(), "the files hold grey images; it is not known by which rule they were made");
  fs::remove(folder / "cifar-10-gray/test_batch.gray.bin");  // as many of both
  CHECK_THROWS_WITH_AS(notes(), doctest::Contains("there is no cifar-10-batches-bin/data_batch_1.bin; take"), Error);
}

TEST_CASE("image: --zero-is-pad hides black pixels") {
  Sequences set;
  set.append(std::vector<Token>{0, 5, 0, 7}, 1);
  set.append(std::vector<Token>{1, 2, 3, 4}, 0);
  const Batch seen = make_batch(set, {0, 1}, {.pad_multiple = 1});
  CHECK_EQ(seen.tokens, 8);
  CHECK(seen.mask.prefix);
  for (const SampleNumbers& samples : {SampleNumbers{0, 1}, SampleNumbers{1}}) {
    const Batch batch = make_batch(set, samples, {.pad_multiple = 1, .zero_is_pad = true});
    CHECK_FALSE(batch.mask.prefix);
    CHECK_EQ(batch.mask.lengths.span<Index>().back(), 4);
    CHECK_EQ(batch.tokens, samples.size() == 2 ? 6 : 4);
  }
  const Batch hidden = make_batch(set, {0}, {.pad_to = 6, .zero_is_pad = true});
  const auto real = hidden.mask.real.span<bool>();
  CHECK_EQ(std::vector(real.begin(), real.end()), std::vector<bool>{false, true, false, true, false, false});
  const auto ids = hidden.ids.span<std::int64_t>();
  CHECK_EQ(std::vector(ids.begin(), ids.end()), std::vector<std::int64_t>{0, 5, 0, 7, 0, 0});

  check_fails({"--zero-is-pad", "--data", "d", "--out", "o"}, 2,
              "--zero-is-pad belongs to --task image or pathfinder or path-x; this is listops");
  check_fails({"--grey", "pil", "--data", "d", "--out", "o"}, 2, "--grey pil belongs to --task image; this is listops");
  check_fails({"--task", "image", "--drop-brackets", "--data", "d", "--out", "o"}, 2,
              "--drop-brackets belongs to --task listops; this is image");
  check_fails({"--task", "pathfinder", "--zero-is-pad", "--data", "no such data", "--out", "o"}, 1,
              "there is no such folder");  // it is read
  check_fails({"--task", "image", "--model", "mixer", "--attention", "paramixer", "--mix-padding", "--pad-to", "1024",
               "--max-length", "1024", "--zero-is-pad", "--data", "d", "--out", "o"},
              2, "--zero-is-pad does not go with --mix-padding, which hides nothing");
}

TEST_SUITE_END();
