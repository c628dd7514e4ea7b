// Images of 8 bits in PNG files, grey or in colours, through libpng.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::lra {

struct GreyImage {
  Index width = 0;
  Index height = 0;
  std::vector<std::uint8_t> pixels;  // [height, width], row by row
};

// The values as they stand in the file: no gamma, no colour profile. FormatError with path and byte for a file that is
// no PNG (an empty one, too), that is damaged, or that is not grey with 8 bits and without transparency; also for more
// than 16,384 pixels in a row or a column. Error when it cannot be opened or read.
GreyImage read_png(const std::filesystem::path& path);

// A colour image, or a grey one.
struct ColourImage {
  Index width = 0;
  Index height = 0;
  Index channels = 1;                // 1: grey; 3: red, green, blue
  std::vector<std::uint8_t> pixels;  // [height, width, channels]
};

bool is_png(std::span<const std::uint8_t> file);  // by how it begins

// The same of a file's bytes, whose `path` only stands in complaints; decode_colour_png takes red, green, blue, too.
GreyImage decode_png(const std::filesystem::path& path, std::span<const std::uint8_t> file);
ColourImage decode_colour_png(const std::filesystem::path& path, std::span<const std::uint8_t> file);

// FormatError when an image has not side x side pixels.
void check_png_size(const std::filesystem::path& path, Index width, Index height, Index side);

std::vector<std::uint8_t> encode_png(Index width, Index height, std::span<const std::uint8_t> pixels);

// Replaces the file. Error when the system does not take it. Not atomic: many small files are written faster so.
void write_png(const std::filesystem::path& path, Index width, Index height, std::span<const std::uint8_t> pixels);

}  // namespace subquad::lra
