#include "subquad/examples/lra/tasks/pathfinder_folder.h"

#include <doctest/doctest.h>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/png.h"
#include "subquad/examples/lra/tasks/task.h"
#include "subquad/tests/examples/train_lra_runs.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::lra;
namespace fs = std::filesystem;

namespace {

constexpr Index kImages = 24;
const PathfinderRules kRules = pathfinder_rules(PathfinderLevel::easy);

PathfinderImage image(Index i) {
  return draw_pathfinder(1, static_cast<std::uint64_t>(i), kRules);
}

// 24 images of Pathfinder, 20 of them in block 2, 4 in block 10.
struct Data {
  test::TemporaryFolder root;
  fs::path level = root / pathfinder_folder(32, PathfinderLevel::easy);

  Data() {
    for (const Index block : {2, 10}) {
      fs::create_directories(level / "imgs" / cat(block));
      std::string lines;
      for (Index i = block == 2 ? 0 : 20; i < (block == 2 ? 20 : kImages); ++i) {
        write_png(png(block, i), 32, 32, image(i).pixels);
        lines += pathfinder_metadata_line(block, i, image(i), kRules);
      }
      fs::create_directories(level / "metadata");
      test::write_text(level / cat("metadata/", block, ".npy"), lines);
    }
  }

  fs::path png(Index block, Index i) const { return level / cat("imgs/", block, "/sample_", i, ".png"); }

  void pack() const {
    std::string bytes;
    for (Index i = 0; i < kImages; ++i) {
      const PathfinderImage drawn = image(i);
      bytes += static_cast<char>(drawn.label);
      bytes.append(drawn.pixels.begin(), drawn.pixels.end());
    }
    test::write_text(level / kPathfinderPacked, bytes);
  }

  TaskSource source() const {
    TaskSource found;
    found.task = "pathfinder";
    found.folder = root.path().string();
    found.difficulty = PathfinderLevel::easy;
    return found;
  }

  void check_fails(const std::string& message) const {
    try {
      read_pathfinder(level, 32);
      FAIL_CHECK("expected: " << message);
    } catch (const Error& error) {
      CHECK_EQ(std::string(error.what()), message);
    }
  }
};

std::vector<const Sequences*> all(const PathfinderSets& sets) {
  return {&sets.train, &sets.validation, &sets.test};
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("pathfinder folder: every image is in one set, with its pixels and its label") {
  const Data data;
  const PathfinderSets sets = read_pathfinder(data.level, 32);
  CHECK_EQ(sets.train.size(), 19);
  CHECK_EQ(sets.validation.size(), 2);
  CHECK_EQ(sets.test.size(), 3);
  CHECK_EQ(sets.empty, 0);
  std::vector<int> found(kImages);
  for (const Sequences* set : all(sets)) {
    for (Index s = 0; s < set->size(); ++s) {
      for (Index i = 0; i < kImages; ++i) {
        const PathfinderImage drawn = image(i);
        if (!std::equal(drawn.pixels.begin(), drawn.pixels.end(), set->bytes(s).begin(), set->bytes(s).end())) continue;
        ++found[static_cast<std::size_t>(i)];
        CHECK_EQ(set->label(s), drawn.label);
      }
    }
  }
  CHECK(found == std::vector<int>(kImages, 1));
}

TEST_CASE("pathfinder folder: the packed file gives the same sets and goes before PNG files") {
  const Data data;
  const PathfinderSets slow = read_pathfinder(data.level, 32);
  data.pack();
  test::write_text(data.png(2, 3), "no longer read");
  const PathfinderSets fast = read_pathfinder(data.level, 32);
  for (std::size_t i = 0; i < 3; ++i) CHECK_EQ(all(fast)[i]->hash(), all(slow)[i]->hash());
  CHECK_NE(fast.train.hash(), fast.test.hash());
}

TEST_CASE("pathfinder folder: a line is as the original generator writes it") {
  PathfinderImage drawn;
  drawn.label = 1;
  drawn.margin = 1;
  CHECK_EQ(pathfinder_metadata_line(7, 31, drawn, pathfinder_rules(PathfinderLevel::hard)),
           "imgs/7 sample_31.png 31 1 1 14 4 2 0.5 1 1\n");
  CHECK_EQ(pathfinder_folder(32, PathfinderLevel::easy), "pathfinder32/curv_baseline");
  CHECK_EQ(pathfinder_folder(32, PathfinderLevel::intermediate), "pathfinder32/curv_contour_length_9");
  CHECK_EQ(pathfinder_folder(128, PathfinderLevel::hard), "pathfinder128/curv_contour_length_14");
}

TEST_CASE("pathfinder folder: metadata") {
  const test::TemporaryFolder folder;
  const fs::path path = folder / "0.npy";
  const auto check_fails = [&](const char* text, const char* message) {
    test::write_text(path, text);
    CHECK_THROWS_WITH_AS(read_pathfinder_metadata(path), (path.string() + ": " + message).c_str(), FormatError);
  };
  test::write_text(path, "imgs/0 sample_0.png 0 1\r\n\n  imgs/0  sample_5.png 5 0 1.0 14 4 2 0.5 1 1");
  const std::vector<PathfinderLine> lines = read_pathfinder_metadata(path);
  REQUIRE_EQ(lines.size(), 2);
  CHECK_EQ(lines[0].image, "imgs/0/sample_0.png");
  CHECK_EQ(lines[0].label, 1);
  CHECK_EQ(lines[1].image, "imgs/0/sample_5.png");
  CHECK_EQ(lines[1].label, 0);
  check_fails("", "no line names an image");
  check_fails("\n \n", "no line names an image");
  check_fails("a b 0 1\na b 1\n", "line 2: 3 fields, expected at least 4: subfolder, file name, index, label");
  check_fails("\na\n", "line 2: 1 field, expected at least 4: subfolder, file name, index, label");
  check_fails("a b 0 2\n", "line 1: field 4: label \"2\", expected 0 or 1");
  check_fails("a b 0 -1\n", "line 1: field 4: label \"-1\", expected 0 or 1");
  check_fails("a b 0 yes\xff\n", "line 1: field 4: label \"yes\\ufffd\", expected 0 or 1");
  CHECK_THROWS_AS(read_pathfinder_metadata(folder / "1.npy"), Error);
}

TEST_CASE("pathfinder folder: empty PNG files are left out and counted") {
  const Data data;
  test::write_text(data.png(2, 4), "");
  test::write_text(data.png(10, 21), "");
  const PathfinderSets sets = read_pathfinder(data.level, 32);
  CHECK_EQ(sets.train.size() + sets.validation.size() + sets.test.size(), kImages - 2);
  CHECK_EQ(sets.empty, 2);
  CHECK_EQ(sets.first_empty, "imgs/2/sample_4.png");
  const Task task = load_task(data.source());
  CHECK_EQ(task.notes.back(), "empty PNG files left out: 2, the first is imgs/2/sample_4.png");
}

TEST_CASE("pathfinder folder: what is wrong in it is said with file and place") {
  const Data data;
  const auto bytes = test::read_text(data.png(2, 4));
  write_png(data.png(2, 4), 28, 28, std::vector<std::uint8_t>(28 * 28));
  data.check_fails(data.png(2, 4).string() + ": byte 16: the image has 28 x 28 pixels, expected 32 x 32");
  test::write_text(data.png(2, 4), bytes.substr(0, bytes.size() - 30));
  CHECK_THROWS_AS(read_pathfinder(data.level, 32), FormatError);
  fs::remove(data.png(2, 4));
  const std::string metadata = (data.level / "metadata/2.npy").string();
  data.check_fails(metadata + " names imgs/2/sample_4.png: No such file or directory");

  test::write_text(data.level / "metadata/2.npy", "imgs/2 sample_0.png 0 1\n");
  data.check_fails(data.level.string() + ": 5 images, expected at least 10");
  std::string ones;
  for (Index i = 0; i < 20; ++i)
    if (i != 4) ones += cat("imgs/2 sample_", i, ".png ", i, " 1\n");
  test::write_text(data.level / "metadata/2.npy", ones);
  fs::remove(data.level / "metadata/10.npy");
  data.check_fails(data.level.string() + ": the labels of all 19 images are 1, expected 0 and 1");
  fs::remove_all(data.level / "metadata");
  data.check_fails(data.level.string() + ": there is neither packed.bin nor metadata/0.npy");
}

TEST_CASE("pathfinder folder: a packed file that is cut off, of another task or with other labels") {
  const Data data;
  data.pack();
  const fs::path packed = data.level / kPathfinderPacked;
  const std::string whole = test::read_text(packed);
  test::write_text(packed, whole.substr(0, whole.size() - 1));
  data.check_fails(packed.string() + ": 24599 bytes, expected a multiple of 1025 = a label and 32 x 32 pixels");
  CHECK_THROWS_AS(read_pathfinder(data.level, 128), FormatError);
  std::string other = whole;
  other[3 * 1025] = 7;
  test::write_text(packed, other);
  data.check_fails(packed.string() + ": byte 3075: the label is 7, expected 0 or 1");
  test::write_text(packed, "");
  data.check_fails(packed.string() + ": 0 images, expected at least 10");
  for (std::size_t i = 0; i < kImages; ++i) other[i * 1025] = 0;
  test::write_text(packed, other);
  data.check_fails(packed.string() + ": the labels of all 24 images are 0, expected 0 and 1");
}

TEST_CASE("pathfinder and path-x are tasks") {
  const Data data;
  TaskSource source = data.source();
  const Task task = load_task(source);
  CHECK_EQ(task.name, "pathfinder, easy");
  CHECK_EQ(task.shape.vocabulary, 256);
  CHECK_EQ(task.shape.classes, 2);
  CHECK_EQ(task.longest(), 1024);
  CHECK_EQ(task.class_names.size(), 2);
  CHECK_EQ(task.notes.size(), 1);
  test::write_text(data.root / "make_data.json", "{}");
  CHECK_EQ(load_task(source).notes.size(), 2);

  const auto check_fails = [&](const std::string& message) {
    CHECK_THROWS_WITH_AS(load_task(source), ("--data " + source.folder + ": " + message).c_str(), Error);
  };
  source.difficulty = PathfinderLevel::hard;
  check_fails("there is no pathfinder32/curv_contour_length_14 for --difficulty hard; it holds easy");
  source.task = "path-x";
  check_fails("there is no pathfinder128; these are the files of --task pathfinder");
  test::train_lra::check_fails({"--difficulty", "easy", "--data", "d", "--out", "o"}, 2,
                               "--difficulty easy belongs to --task pathfinder or path-x; this is listops");
  test::train_lra::check_fails({"--task", "path-x", "--difficulty", "easier", "--data", "d", "--out", "o"}, 2,
                               "--difficulty: 'easier', expected easy, intermediate or hard");
}

TEST_SUITE_END();
