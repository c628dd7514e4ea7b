#include "subquad/examples/compare/report.h"

#include <unistd.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "subquad/core/file.h"
#include "subquad/examples/compare/pictures.h"
#include "subquad/examples/compare/table.h"
#include "subquad/examples/lra/report/html.h"

namespace subquad::compare {

namespace {

using Json = nlohmann::ordered_json;

Json rounded(double number) {
  if (!std::isfinite(number)) return nullptr;
  return std::stod(lra::number_text(number, 6));
}

Json of_all_laws(const Exponents& laws, double PowerLaw::*value) {
  return {{"forward_seconds", rounded(laws.forward.*value)},
          {"both_seconds", rounded(laws.both.*value)},
          {"forward_bytes", rounded(laws.forward_bytes.*value)},
          {"both_bytes", rounded(laws.both_bytes.*value)}};
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

constexpr const char* kPageStyle = R"(
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: #fff; color: #1c1e21;
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; }
pre { overflow-x: auto; font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; }
figure { margin: 1.5rem 0; break-inside: avoid; }
svg { width: 100%; height: auto; }
@media screen and (prefers-color-scheme: dark) { body { background: #15181c; color: #e6e8ea; } }
)";

}  // namespace

std::string errors_json(const Comparison& c) {
  Json rows = Json::array();
  for (const ErrorRow& row : c.errors) {
    Json one = {{"inputs", row.inputs},
                {"positions", row.positions},
                {"way", row.way},
                {"budget", row.budget},
                {"keys", row.keys},
                {"flops_per_query", rounded(row.flops)},
                {"matrix_error", rounded(row.matrix_error)},
                {"output_error", rounded(row.output_error)}};
    if (row.mass) one["mass"] = rounded(*row.mass);
    if (row.most) one["most_mass"] = rounded(*row.most);
    rows.push_back(std::move(one));
  }
  const Json all = {{"format", 1},    {"seed", c.seed}, {"features", c.width}, {"fit_steps", c.fit_steps},
                    {"keys", c.keys}, {"rows", rows}};
  return all.dump(1) + "\n";
}

Comparison read_errors(const std::string& json) {
  const auto number = [](const Json& value) {
    return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  };
  try {
    const Json all = Json::parse(json);
    Comparison c{.width = all.at("features").get<Index>(),
                 .seed = all.at("seed").get<std::uint64_t>(),
                 .fit_steps = all.at("fit_steps").get<Index>(),
                 .keys = all.at("keys").get<Index>(),
                 .errors = {},
                 .growth_options = {},
                 .growth = {}};
    for (const Json& row : all.at("rows")) {
      ErrorRow& one = c.errors.emplace_back(ErrorRow{.inputs = row.at("inputs").get<std::string>(),
                                                     .positions = row.at("positions").get<Index>(),
                                                     .way = row.at("way").get<std::string>(),
                                                     .budget = row.at("budget").get<std::string>(),
                                                     .keys = row.at("keys").get<Index>(),
                                                     .flops = number(row.at("flops_per_query")),
                                                     .matrix_error = number(row.at("matrix_error")),
                                                     .output_error = number(row.at("output_error"))});
      if (row.contains("mass")) one.mass = number(row.at("mass"));
      if (row.contains("most_mass")) one.most = number(row.at("most_mass"));
    }
    return c;
  } catch (const Json::exception& error) {
    throw FormatError(cat("read_errors: no errors.json of compare_attention: ", error.what()));
  }
}

std::string growth_json(const Comparison& c) {
  Json curves = Json::array();
  for (const GrowthCurve& curve : c.growth) {
    Json points = Json::array();
    for (const GrowthPoint& point : curve.points)
      points.push_back({{"positions", point.positions},
                        {"forward_seconds", rounded(point.forward)},
                        {"both_seconds", rounded(point.both)},
                        {"forward_bytes", point.forward_bytes},
                        {"both_bytes", point.both_bytes}});
    curves.push_back({{"attention", curve.kind},
                      {"budget", curve.budget},
                      {"points", points},
                      {"exponents", of_all_laws(curve.exponents, &PowerLaw::exponent)},
                      {"within", of_all_laws(curve.exponents, &PowerLaw::within)}});
  }
  const Json all = {{"format", 1},
                    {"features", c.growth_options.width},
                    {"repetitions", c.growth_options.repetitions},
                    {"curves", curves}};
  return all.dump(1) + "\n";
}

std::string page(const Comparison& c) {
  std::string out =
      cat("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n",
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n",
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n",
          "<title>Attentions side by side</title>\n<style>", kPageStyle,
          "</style>\n</head>\n<body>\n<h1>Attentions side by side</h1>\n<pre>", lra::escaped(table(c)), "</pre>\n");
  for (const NamedPicture& one : pictures(c)) out += cat("<figure>\n", svg(one.picture), "</figure>\n");
  return out + "</body>\n</html>\n";
}

void make_report_folder(const std::filesystem::path& folder) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (!failure && access(folder.c_str(), W_OK) != 0) failure = std::error_code(errno, std::generic_category());
  if (failure) throw Error(cat("--out ", folder.string(), ": ", failure.message()));
}

std::vector<std::string> write_report(const std::filesystem::path& folder, const Comparison& c) {
  std::vector<std::string> names;
  const auto write = [&](const std::string& name, const std::string& text) {
    write_file(folder / name, text);
    names.push_back(name);
  };
  const std::string errors = errors_json(c);
  write("errors.json", errors);
  if (!c.growth.empty()) write("growth.json", growth_json(c));
  Comparison told = read_errors(errors);
  told.growth_options = c.growth_options;
  told.growth = c.growth;
  for (const NamedPicture& one : pictures(told)) write(one.file, svg(one.picture));
  write("compare.html", page(told));
  return names;
}

}  // namespace subquad::compare
