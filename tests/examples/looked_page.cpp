#include "subquad/tests/examples/looked_page.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "subquad/examples/inspect/reduced.h"

namespace subquad::test::inspected {

namespace {

std::vector<std::uint8_t> bytes_of(const std::string& base64) {
  const auto value = [](char c) -> unsigned {
    const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return static_cast<unsigned>(letters.find(c));
  };
  std::vector<std::uint8_t> bytes;
  unsigned bits = 0, count = 0;
  for (const char c : base64) {
    if (c == '=') break;
    bits = bits << 6 | value(c);
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<std::uint8_t>(bits >> count & 255));
  }
  return bytes;
}

// Blocks by plain loops: the mean of each, or its entry of largest magnitude.
std::vector<double> blocks(const Tensor& matrix, const Blocks& block, bool mean) {
  const auto a = matrix.view<const float, 2>();
  std::vector<double> found;
  for (Index r = 0; r < a.dim(0); r += block.rows)
    for (Index c = 0; c < a.dim(1); c += block.columns) {
      double sum = 0, largest = 0, count = 0;
      for (Index i = r; i < std::min(r + block.rows, a.dim(0)); ++i)
        for (Index j = c; j < std::min(c + block.columns, a.dim(1)); ++j) {
          sum += a(i, j);
          ++count;
          if (std::abs(a(i, j)) > std::abs(largest)) largest = a(i, j);
        }
      found.push_back(mean ? sum / count : largest);
    }
  return found;
}

// The picture of a head's last section that has this name, wherever it stands.
const Json* picture_below(const Json& data, const Json& part, const std::string& id) {
  if (part.is_object() && part.contains("groups"))
    for (const Json& group : part.at("groups"))
      for (const Json& number : group)
        if (const Json& found = data.at("pictures")[number.get<std::size_t>()]; found.at("id") == id) return &found;
  if (part.is_structured())
    for (const Json& inner : part)
      if (const Json* found = picture_below(data, inner, id)) return found;
  return nullptr;
}

}  // namespace

Subject subject_of(const Args& args) {
  InspectOptions options;
  REQUIRE(parse_inspect_options(args, options));
  return open_subject(options);
}

Subject fresh(const Args& more, const std::string& input) {
  Args args = more;
  for (const auto& [option, value] : {std::pair<std::string, std::string>{"--task", "listops"},
                                      {"--max-length", "64"},
                                      {"--width", "16"},
                                      {"--layers", "1"},
                                      {"--seed", "5"}})
    if (std::ranges::find(more, option) == more.end()) args.insert(args.end(), {option, value});
  args.push_back(input);
  return subject_of(args);
}

Json data_of(const std::string& html) {
  const std::string before = "<script id=\"data\" type=\"application/json\">";
  const std::size_t begin = html.find(before) + before.size();
  return Json::parse(html.substr(begin, html.find("</script>", begin) - begin));
}

std::vector<double> cells_of(const Json& cells) {
  const std::vector<std::uint8_t> bytes = bytes_of(cells.at("data").get<std::string>());
  const double low = cells.at("low").get<double>(), high = cells.at("high").get<double>();
  std::vector<double> values;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
    values.push_back(low + (high - low) * (bytes[i] + 256.0 * bytes[i + 1]) / 65535);
  return values;
}

double cells_apart(const Json& picture, const Tensor& matrix) {
  const Index down = picture.at("rows").at("block").get<Index>(),
              across = picture.at("columns").at("block").get<Index>();
  double worst = 0;
  for (const Json& cells : picture.at("cells")) {
    const double low = cells.at("low").get<double>(), high = cells.at("high").get<double>();
    const std::vector<double> found = cells_of(cells),
                              expected = blocks(matrix, {down, across}, cells.at("how") == "mean");
    REQUIRE_EQ(found.size(), expected.size());
    const double may = .51 * (high - low) / 65535 + 1e-7 * std::max(std::abs(low), std::abs(high)) + 1e-30;
    for (std::size_t i = 0; i < found.size(); ++i) worst = std::max(worst, std::abs(found[i] - expected[i]) / may);
  }
  return worst;
}

void check_picture(const Json& picture, const Tensor& matrix) {
  CAPTURE(picture.at("id"));
  CHECK_EQ(picture.at("rows").at("count"), matrix.dim(0));
  CHECK_EQ(picture.at("columns").at("count"), matrix.dim(1));
  CHECK_LE(cells_apart(picture, matrix), 1);
}

const Json* picture_of(const Json& data, const Json& head, const std::string& id) {
  for (const Json& number : head.at("sections")[0].at("parts")[0].at("groups")[0])
    if (const Json& picture = data.at("pictures")[number.get<std::size_t>()]; picture.at("id") == id) return &picture;
  return nullptr;
}

const Json* decided_picture(const Json& data, const Json& head, const std::string& id) {
  return picture_below(data, head.at("sections")[2], id);
}

void check_decided(const Json& data, const Json& head, const std::string& id, const Tensor& matrix) {
  CAPTURE(id);
  const Json* picture = decided_picture(data, head, id);
  REQUIRE(picture != nullptr);
  check_picture(*picture, matrix);
}

std::vector<std::string> row_named(const Json& table, const std::string& name) {
  for (const Json& row : table.at("rows"))
    if (row[0] == name) return row.get<std::vector<std::string>>();
  return {};
}

void check_line(const Json& line, const std::vector<double>& expected, double scale) {
  CAPTURE(line.at("name"));
  const Json& values = line.at("values");
  REQUIRE_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK_LE(std::abs(values[i].get<double>() - expected[i]), 6e-4 * std::abs(expected[i]) + 1e-5 * scale);
}

}  // namespace subquad::test::inspected
