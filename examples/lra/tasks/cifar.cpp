#include "subquad/examples/lra/tasks/cifar.h"

#include "subquad/core/file.h"
#include "subquad/nn/choice.h"

namespace subquad::lra {

namespace {

constexpr nn::Choices<GreyRule, 2> kGreyRules = {{{"tensorflow", GreyRule::tensorflow}, {"pil", GreyRule::pil}}};

void check_size(const InputFile& file, Index records, Index record_bytes) {
  const auto expected = static_cast<std::uint64_t>(records * record_bytes);
  if (file.size() != expected)
    fail_format(file.path(), std::min(file.size(), expected),
                cat(expected, " bytes expected, ", records, " records of ", record_bytes, ", got ", file.size()));
}

}  // namespace

GreyRule parse_grey_rule(std::string_view name) {
  return nn::choose("grey", kGreyRules, name);
}

std::string_view grey_rule_name(GreyRule rule) {
  return nn::name_of(kGreyRules, rule);
}

std::uint8_t grey(GreyRule rule, int red, int green, int blue) {
  if (rule == GreyRule::pil)
    return static_cast<std::uint8_t>((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16);
  return static_cast<std::uint8_t>(511 * (2989 * red + 5870 * green + 1140 * blue) / 5'100'000);
}

CifarFile read_cifar(const std::filesystem::path& path, CifarForm form, GreyRule rule, Index records) {
  const Index planes = form == CifarForm::colour ? 3 : 1;
  const Index record_bytes = 1 + planes * kCifarPixels;
  const InputFile file(path);
  check_size(file, records, record_bytes);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(file.size()));
  file.read(0, std::as_writable_bytes(std::span(bytes)));

  CifarFile out;
  out.images.reserve(records, records * kCifarPixels);
  std::vector<std::uint8_t> pixels(kCifarPixels);
  for (Index i = 0; i < records; ++i) {
    const std::uint8_t* record = bytes.data() + i * record_bytes;
    if (record[0] >= kCifarClasses)
      fail_format(path, static_cast<std::uint64_t>(i * record_bytes),
                  cat("record ", i, ": label is ", int{record[0]}, ", expected 0..", kCifarClasses - 1));
    const std::uint8_t* red = record + 1;
    const std::uint8_t* green = planes == 3 ? red + kCifarPixels : red;
    const std::uint8_t* blue = planes == 3 ? green + kCifarPixels : red;
    for (std::size_t p = 0; p < pixels.size(); ++p) {
      out.colourful = out.colourful || red[p] != green[p] || red[p] != blue[p];
      pixels[p] = planes == 3 ? grey(rule, red[p], green[p], blue[p]) : red[p];
    }
    out.images.append_bytes({pixels}, record[0]);
  }
  return out;
}

}  // namespace subquad::lra
