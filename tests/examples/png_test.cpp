#include "subquad/examples/lra/tasks/png.h"

#include <doctest/doctest.h>

#include "subquad/core/error.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::lra;
using test::TemporaryFolder;

namespace {

std::vector<std::uint8_t> every_value(Index count) {
  std::vector<std::uint8_t> pixels;
  for (Index i = 0; i < count; ++i) pixels.push_back(static_cast<std::uint8_t>(37 * i));
  return pixels;
}

// 3 x 2 pixels 0 128 255 / 1 2 3, by another writer (Python's zlib): signature, IHDR, IDAT, IEND.
const std::string kForeign(
    "\211PNG\r\n\032\n"
    "\000\000\000\015IHDR\000\000\000\003\000\000\000\002\010\000\000\000\000\270\037\071\306"
    "\000\000\000\020IDAT\170\234\143\140\150\370\317\300\310\304\014\000\010\015\001\206\015\111\361\272"
    "\000\000\000\000IEND\256\102\140\202",
    73);

// 2 x 2 pixels in colours, by the same.
const std::string kForeignColours(
    "\211\120\116\107\015\012\032\012\000\000\000\015\111\110\104\122\000\000\000\002\000\000\000\002"
    "\010\002\000\000\000\375\324\232\163\000\000\000\026\111\104\101\124\170\234\143\370\317\300\300"
    "\320\360\237\201\221\211\231\205\225\015\000\031\261\002\224\011\033\236\130\000\000\000\000\111"
    "\105\116\104\256\102\140\202",
    79);

struct BadFile {
  const TemporaryFolder& folder;

  void check(const std::string& bytes, const std::string& message) const {
    test::write_text(folder / "bad.png", bytes);
    CHECK_THROWS_WITH_AS(read_png(folder / "bad.png"), ((folder / "bad.png").string() + ": " + message).c_str(),
                         FormatError);
  }
};

std::string with(std::string bytes, std::size_t at, char value) {
  bytes.at(at) = value;
  return bytes;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("png: what is written is read") {
  const TemporaryFolder folder;
  for (const auto& [width, height] : {std::pair<Index, Index>{1, 1}, {32, 32}, {128, 128}, {3, 7}, {300, 1}}) {
    const std::vector<std::uint8_t> pixels = every_value(width * height);
    write_png(folder / "a.png", width, height, pixels);
    const GreyImage image = read_png(folder / "a.png");
    CHECK_EQ(image.width, width);
    CHECK_EQ(image.height, height);
    CHECK(image.pixels == pixels);
  }
  CHECK_THROWS_WITH_AS(write_png(folder / "a.png", 2, 2, every_value(3)), "encode_png: 3 pixels, expected 2 x 2",
                       Error);
  CHECK_THROWS_WITH_AS(write_png(folder / "none/a.png", 2, 2, every_value(4)),
                       ("cannot write " + (folder / "none/a.png").string() + ": No such file or directory").c_str(),
                       Error);
}

TEST_CASE("png: another program's file") {
  const TemporaryFolder folder;
  test::write_text(folder / "a.png", kForeign);
  const GreyImage image = read_png(folder / "a.png");
  CHECK_EQ(image.width, 3);
  CHECK_EQ(image.height, 2);
  CHECK(image.pixels == std::vector<std::uint8_t>{0, 128, 255, 1, 2, 3});
}

TEST_CASE("png: colours where they are asked for, and grey among them") {
  const auto decoded = [](const std::string& file) {
    return decode_colour_png("it", {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()});
  };
  const ColourImage colours = decoded(kForeignColours);
  CHECK_EQ(colours.channels, 3);
  CHECK_EQ(colours.width, 2);
  CHECK(colours.pixels == std::vector<std::uint8_t>{255, 0, 0, 0, 128, 255, 1, 2, 3, 4, 5, 6});
  const ColourImage grey = decoded(kForeign);
  CHECK_EQ(grey.channels, 1);
  CHECK(grey.pixels == std::vector<std::uint8_t>{0, 128, 255, 1, 2, 3});
  CHECK_THROWS_WITH_AS(
      decoded(with(kForeign, 25, 6)),
      "it: byte 24: the image has 8 bits of red, green, blue with transparency, expected 8 bits of grey "
      "or of red, green, blue",
      FormatError);
}

TEST_CASE("png: files that are none, are damaged or of another kind") {
  const TemporaryFolder folder;
  const BadFile bad = {folder};
  bad.check("", "byte 0: the file is empty, expected a PNG image");
  bad.check("GIF89a and so on", "byte 0: this is no PNG image");
  bad.check(kForeign.substr(0, 8), "byte 8: the file ends within its header");
  bad.check(with(kForeign, 12, 'J'), "byte 8: the first chunk is not IHDR of 13 bytes");
  bad.check(with(kForeign, 19, 0), "byte 16: the image has 0 x 2 pixels, expected 1..16384");
  bad.check(with(kForeign, 16, 1), "byte 16: the image has 16777219 x 2 pixels, expected 1..16384");
  bad.check(with(kForeign, 24, 16), "byte 24: the image has 16 bits of grey, expected 8 bits of grey");
  bad.check(with(kForeign, 25, 2), "byte 24: the image has 8 bits of red, green, blue, expected 8 bits of grey");
  bad.check(with(kForeign, 25, 3), "byte 24: the image has 8 bits of a palette, expected 8 bits of grey");
  bad.check(kForeign.substr(0, 50), "byte 41: the file ends too early");
  bad.check(kForeign.substr(0, 61), "byte 61: the file ends too early");
  CHECK_THROWS_AS(read_png(folder / "none.png"), Error);
  for (std::size_t at = 8; at < 61; ++at) {  // every byte is under a checksum, or frames one that is
    test::write_text(folder / "bad.png", with(kForeign, at, static_cast<char>(kForeign[at] ^ 0x40)));
    CAPTURE(at);
    CHECK_THROWS_AS(read_png(folder / "bad.png"), FormatError);
  }
}

TEST_SUITE_END();
