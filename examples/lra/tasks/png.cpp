#include "subquad/examples/lra/tasks/png.h"

#include <png.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csetjmp>
#include <cstring>
#include <fstream>
#include <system_error>

#include "subquad/core/error.h"
#include "subquad/core/file.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

constexpr std::array<std::uint8_t, 8> kSignature = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr std::size_t kHeaderEnd = 33;  // signature, and a chunk that holds 13 bytes
constexpr std::uint32_t kMostPixels = 16'384;

std::uint32_t big_endian(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
}

const char* colour_name(std::uint8_t type) {
  switch (type) {
    case 0: return "grey";
    case 2: return "red, green, blue";
    case 3: return "a palette";
    case 4: return "grey with transparency";
    case 6: return "red, green, blue with transparency";
    default: return "unknown colours";
  }
}

// Looked at before libpng does, whose conversions would hide what is in the file.
ColourImage checked_header(const fs::path& path, std::span<const std::uint8_t> file, bool colours) {
  if (file.empty()) fail_format(path, 0, "the file is empty, expected a PNG image");
  if (!is_png(file)) fail_format(path, 0, "this is no PNG image");
  if (file.size() < kHeaderEnd) fail_format(path, file.size(), "the file ends within its header");
  if (big_endian(&file[8]) != 13 || std::memcmp(&file[12], "IHDR", 4) != 0)
    fail_format(path, 8, "the first chunk is not IHDR of 13 bytes");
  const std::uint32_t width = big_endian(&file[16]), height = big_endian(&file[20]);
  if (std::min(width, height) < 1 || std::max(width, height) > kMostPixels)
    fail_format(path, 16, cat("the image has ", width, " x ", height, " pixels, expected 1..", kMostPixels));
  constexpr std::uint8_t kGrey = 0, kColours = 2;  // types of the format
  const std::uint8_t bits = file[24], type = file[25];
  if (bits != 8 || !(type == kGrey || (colours && type == kColours)))
    fail_format(path, 24,
                cat("the image has ", int{bits}, " bits of ", colour_name(type), ", expected 8 bits of ",
                    colour_name(kGrey), colours ? cat(" or of ", colour_name(kColours)) : std::string()));
  ColourImage image = {.width = width, .height = height, .channels = type == kGrey ? 1 : 3, .pixels = {}};
  image.pixels.resize(std::size_t{width} * height * static_cast<std::size_t>(image.channels));
  return image;
}

// What libpng's callbacks see. Bytes come from `from` or go to `to`.
struct Stream {
  std::span<const std::uint8_t> from;
  std::size_t used = 0;
  std::vector<std::uint8_t> to;
  std::array<char, 100> failure = {};  // no std::string: a longjmp passes by
};

[[noreturn]] void note_failure(png_structp png, png_const_charp message) {
  auto& failure = static_cast<Stream*>(png_get_error_ptr(png))->failure;
  std::strncpy(failure.data(), message, failure.size() - 1);
  png_longjmp(png, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

void take_bytes(png_structp png, png_bytep to, std::size_t count) {
  auto* stream = static_cast<Stream*>(png_get_io_ptr(png));
  if (stream->from.size() - stream->used < count) png_error(png, "the file ends too early");
  std::memcpy(to, stream->from.data() + stream->used, count);
  stream->used += count;
}

void give_bytes(png_structp png, png_bytep from, std::size_t count) {
  auto* stream = static_cast<Stream*>(png_get_io_ptr(png));
  bool failed = false;
  try {
    stream->to.insert(stream->to.end(), from, from + count);
  } catch (const std::bad_alloc&) {  // no exception passes through C
    failed = true;
  }
  if (failed) png_error(png, "not enough memory");
}

void flush_nothing(png_structp) {}

// libpng leaves these two by a longjmp, which runs no destructors: they have no local objects that need one.
bool decode(png_structp png, png_infop info, Stream& stream, png_bytep* rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_read_fn(png, &stream, take_bytes);
  png_read_info(png, info);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

bool encode(png_structp png, png_infop info, Stream& stream, png_uint_32 width, png_uint_32 height, png_bytep* rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_write_fn(png, &stream, give_bytes, flush_nothing);
  png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_NONE);  // the best one for lines on black
  png_write_info(png, info);
  png_write_image(png, rows);
  png_write_end(png, nullptr);
  return true;
}

// libpng's state of one image.
class Png {
 public:
  enum class Direction { read, write };

  Png(Direction direction, Stream& stream) : direction_(direction) {
    png_ = direction == Direction::read
               ? png_create_read_struct(PNG_LIBPNG_VER_STRING, &stream, note_failure, ignore_warning)
               : png_create_write_struct(PNG_LIBPNG_VER_STRING, &stream, note_failure, ignore_warning);
    info_ = png_ != nullptr ? png_create_info_struct(png_) : nullptr;
    if (info_ == nullptr) {
      free();
      throw Error("libpng cannot be started");
    }
  }
  ~Png() { free(); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  png_structp png() { return png_; }
  png_infop info() { return info_; }

 private:
  void free() {
    if (direction_ == Direction::read)
      png_destroy_read_struct(&png_, &info_, nullptr);
    else
      png_destroy_write_struct(&png_, &info_);
  }

  Direction direction_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

std::vector<png_bytep> row_starts(std::uint8_t* pixels, Index row_bytes, Index height) {
  std::vector<png_bytep> rows;
  for (Index y = 0; y < height; ++y) rows.push_back(pixels + y * row_bytes);
  return rows;
}

ColourImage decode_any(const fs::path& path, std::span<const std::uint8_t> file, bool colours) {
  ColourImage image = checked_header(path, file, colours);
  Stream stream = {.from = file, .to = {}};
  Png png(Png::Direction::read, stream);
  std::vector<png_bytep> rows = row_starts(image.pixels.data(), image.width * image.channels, image.height);
  if (!decode(png.png(), png.info(), stream, rows.data())) fail_format(path, stream.used, stream.failure.data());
  return image;
}

}  // namespace

bool is_png(std::span<const std::uint8_t> file) {
  return file.size() >= kSignature.size() && std::equal(kSignature.begin(), kSignature.end(), file.begin());
}

GreyImage read_png(const fs::path& path) {
  const InputFile in(path);
  std::vector<std::uint8_t> file(static_cast<std::size_t>(in.size()));
  in.read(0, std::as_writable_bytes(std::span(file)));
  return decode_png(path, file);
}

GreyImage decode_png(const fs::path& path, std::span<const std::uint8_t> file) {
  ColourImage image = decode_any(path, file, false);
  return {.width = image.width, .height = image.height, .pixels = std::move(image.pixels)};
}

ColourImage decode_colour_png(const fs::path& path, std::span<const std::uint8_t> file) {
  return decode_any(path, file, true);
}

void check_png_size(const fs::path& path, Index width, Index height, Index side) {
  if (width != side || height != side)
    fail_format(path, 16, cat("the image has ", width, " x ", height, " pixels, expected ", side, " x ", side));
}

std::vector<std::uint8_t> encode_png(Index width, Index height, std::span<const std::uint8_t> pixels) {
  if (static_cast<Index>(pixels.size()) != width * height)
    throw Error(cat("encode_png: ", pixels.size(), " pixels, expected ", width, " x ", height));
  std::vector<std::uint8_t> copy(pixels.begin(), pixels.end());  // libpng's rows are not const
  std::vector<png_bytep> rows = row_starts(copy.data(), width, height);
  Stream stream;
  Png png(Png::Direction::write, stream);
  if (!encode(png.png(), png.info(), stream, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height),
              rows.data()))
    throw Error(cat("encode_png: ", stream.failure.data()));
  return std::move(stream.to);
}

void write_png(const fs::path& path, Index width, Index height, std::span<const std::uint8_t> pixels) {
  const std::vector<std::uint8_t> file = encode_png(width, height, pixels);
  errno = 0;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  out.close();
  if (!out) throw Error(cat("cannot write ", path.string(), ": ", std::generic_category().message(errno)));
}

}  // namespace subquad::lra
