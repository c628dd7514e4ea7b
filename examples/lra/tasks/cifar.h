// CIFAR-10 as grey images: 1,024 pixels, row by row from the top left, one byte each. A file is a sequence of records,
// each a label byte (0..9) and then the pixels: of colour images the red plane, the green one and the blue one (3,073
// bytes, the "binary version" of the data), of images that are grey already one plane (1,025 bytes).
// Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), and its cifar-10-batches-bin.
#pragma once

#include <filesystem>
#include <string_view>

#include "subquad/examples/lra/tasks/sequences.h"

namespace subquad::lra {

inline constexpr Index kCifarPixels = 1024;
inline constexpr Index kCifarClasses = 10;
inline constexpr Index kCifarRecords = 10'000;  // of each of the published files
inline constexpr const char* kCifarNames[kCifarClasses] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                                           "dog",      "frog",       "horse", "ship", "truck"};

// How a colour becomes grey. tensorflow: 0.2989 R + 0.5870 G + 0.1140 B on the scale 0..1, times 255.5, the fraction
// cut off, in exact integers (float32 differs on 8 pixels of a million); what LRA and its PyTorch ports feed. pil: the
// mode "L" of Python's imaging library, which rounds; equal on 3 pixels of 4, else larger by 1.
enum class GreyRule { tensorflow, pil };
GreyRule parse_grey_rule(std::string_view name);  // Error for any other name
std::string_view grey_rule_name(GreyRule rule);

std::uint8_t grey(GreyRule rule, int red, int green, int blue);  // each 0..255

enum class CifarForm { colour, grey };

struct CifarFile {
  Sequences images;
  bool colourful = false;  // not all pixels are equally red, green and blue
};

// FormatError with path and byte when the file has not exactly `records` of them, or a label is out of range, which
// names the record (the first is 0), too. Error when it cannot be read. `rule` is for colours.
CifarFile read_cifar(const std::filesystem::path& path, CifarForm form, GreyRule rule = GreyRule::tensorflow,
                     Index records = kCifarRecords);

}  // namespace subquad::lra
