// compare_attention as its users run it, and what its table and pictures are made of.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "subquad/core/npy.h"
#include "subquad/examples/compare/errors.h"
#include "subquad/examples/compare/growth.h"
#include "subquad/examples/compare/limits.h"
#include "subquad/examples/compare/log_chart.h"
#include "subquad/examples/compare/picked_module.h"
#include "subquad/examples/compare/pictures.h"
#include "subquad/examples/compare/report.h"
#include "subquad/examples/lra/report/html.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/subprocess.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::compare;
using nlohmann::json;
using test::at;

TEST_SUITE_BEGIN("cpu");

namespace {

double logit(const Inputs& in, Index i, Index j) {
  double sum = 0;
  for (Index e = 0; e < in.width(); ++e) sum += at(in.q, {i, e}) * at(in.k, {j, e});
  return sum / std::sqrt(static_cast<double>(in.width()));
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t place = 0; (place = text.find(part, place)) != std::string::npos; place += part.size()) ++count;
  return count;
}

// An XML file that loads nothing and runs nothing.
void check_page(const std::filesystem::path& path) {
  CAPTURE(path);
  const std::string script = std::string(SUBQUAD_SOURCE_DIR) + "/tests/examples/read_report.py";
  CHECK_EQ(std::system(("python3 '" + script + "' '" + path.string() + "' > /dev/null").c_str()), 0);
}

}  // namespace

TEST_CASE("compare: with budgets that cover everything nothing is approximated") {
  const Inputs in = make_inputs(InputKind::random, 24, 6, 5);
  Tensor exact = empty({24, 24}, kFloat64, kCpu);
  for (Index i = 0; i < 24; ++i) {
    double sum = 0;
    for (Index j = 0; j < 24; ++j) sum += std::exp(logit(in, i, j));
    for (Index j = 0; j < 24; ++j) exact.data<double>()[i * 24 + j] = std::exp(logit(in, i, j)) / sum;
  }
  CHECK_CLOSE(exact_matrix(in), exact, test::dot_tolerance(kFloat32, 6));
  const std::vector<nn::AttentionConfig> covering = {
      {.kind = "softmax"},
      {.kind = "nystrom", .nystrom = {.landmarks = 24}},
      {.kind = "local", .local = {.window = 24}},
      {.kind = "combiner", .combiner = {.segment = 24}},
      {.kind = "fsat", .fsat = {.lags = 24, .columns = 1, .window = -1}},
      {.kind = "fsat", .fsat = {.lags = 1, .columns = 24, .window = -1}},
  };
  for (const nn::AttentionConfig& config : covering) {
    CAPTURE(config.kind);
    CHECK_CLOSE(picked_matrix(config, in, 1), exact, 4 * test::dot_tolerance(kFloat32, 24));
  }
}

TEST_CASE("compare: FSAT with a cross of q and k takes the lags of the largest mean logits") {
  const Index n = 26, count = 5;
  const Inputs in = make_inputs(InputKind::stripes, n, 8, 2);
  const nn::AttentionConfig config{.kind = "fsat", .fsat = {.lags = count, .columns = 0, .window = -1}};
  const Tensor a = picked_matrix(config, in, 1, FsatCross::queries_and_keys);
  std::multimap<double, Index> lags;
  for (Index lag = 0; lag < n; ++lag) {
    double sum = 0;
    for (Index i = 0; i < n; ++i) sum += logit(in, i, (i + lag) % n);
    lags.emplace(-sum, lag);
  }
  std::set<Index> best, chosen;
  for (auto lag = lags.begin(); best.size() < count; ++lag) best.insert(lag->second);
  for (Index j = 0; j < n; ++j)
    if (at(a, {0, j}) != 0) chosen.insert(j);
  CHECK_EQ(chosen, best);
}

TEST_CASE("compare: no mechanism is better than its bound") {
  for (const InputKind kind : {InputKind::random, InputKind::smooth, InputKind::peaked, InputKind::stripes}) {
    const Inputs in = make_inputs(kind, 48, 8, 1);
    CAPTURE(in.name);
    std::map<std::string, ErrorRow> rows;
    const ErrorOptions options{.keys = {8, 16}, .factors = {0}, .fit = {.steps = 20, .vectors = 8}};
    for (const ErrorRow& row : measure_errors(in, options, [](const std::string&) {}))
      rows[row.keys == 8 ? row.way + ", 8" : row.way] = row;
    CHECK_LT(rows.at("softmax").matrix_error, 1e-5);
    CHECK_LT(rows.at("softmax").output_error, 1e-5);
    CHECK_GE(rows.at("nystrom").matrix_error, rows.at("best rank").matrix_error);
    CHECK_GE(rows.at("best rank, 8").matrix_error, rows.at("best rank").matrix_error);
    for (const char* chosen : {"fsat, fresh", "fsat, cross of q and k"}) {
      CHECK_LE(*rows.at(chosen).mass, *rows.at("best lags and columns").most + 1e-6);
      CHECK_LE(*rows.at(chosen).mass, *rows.at("best keys").mass + 1e-6);
    }
    CHECK_LE(*rows.at("best lags and columns").mass, *rows.at("best keys").mass + 1e-6);
    CHECK_GT(*rows.at("best keys").mass, *rows.at("best keys, 8").mass);
    CHECK(std::isfinite(rows.at("paramixer, fresh").matrix_error));
    CHECK_LE(rows.at("paramixer, fitted").matrix_error, 1.01 * rows.at("mean of all").matrix_error);
    CHECK_FALSE(rows.at("combiner, logsparse").mass.has_value());
  }
}

TEST_CASE("compare: exponents of the largest three sizes") {
  std::vector<GrowthPoint> points;
  for (const Index n : {10, 100, 200, 400}) {
    const auto x = static_cast<double>(n);
    points.push_back({n, n == 10 ? 1e9 : x * x, 3 * x, 5, std::sqrt(x)});
  }
  const Exponents fitted = fitted_exponents(points);
  CHECK(fitted.forward.exponent == doctest::Approx(2));
  CHECK(fitted.both.exponent == doctest::Approx(1));
  CHECK(fitted.forward_bytes.exponent == doctest::Approx(0).epsilon(1e-9));
  CHECK(fitted.both_bytes.exponent == doctest::Approx(0.5));
  CHECK(fitted.forward.within == doctest::Approx(0).epsilon(1e-9));
  CHECK_EQ(exponent_text(fitted.forward), "2.00 (0 %)");
  CHECK(std::isnan(fitted_exponents({points[0]}).forward.exponent));
  CHECK(std::isnan(fitted_exponents({points[1], points[2]}).forward.within));
  CHECK_EQ(exponent_text(fitted_exponents({points[1], points[2]}).both), "1.00");
  points[2].both *= 1.331;  // the middle one of three: the line meets it by two thirds, the others by a third
  CHECK(fitted_exponents(points).both.exponent == doctest::Approx(1));
  CHECK(fitted_exponents(points).both.within == doctest::Approx(0.21));
  CHECK_EQ(exponent_text(fitted_exponents(points).both), "1.00 (21 %)");
  const GrowthOptions options{.lengths = {32, 64}, .width = 8, .repetitions = 1};
  const auto silent = [](const std::string&) {};
  const GrowthCurve once = measure_growth("paramixer", options, silent);
  const GrowthCurve again = measure_growth("paramixer", options, silent);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK_GT(once.points[i].both, 0);
    CHECK_GT(once.points[i].forward_bytes, 64 * 8);
    CHECK_GT(once.points[i].both_bytes, once.points[i].forward_bytes);
    CHECK_EQ(once.points[i].both_bytes, again.points[i].both_bytes);
  }
}

TEST_CASE("compare: a picture draws every curve and names it") {
  CHECK_EQ(tick_text(0.05, Measure::plain), "0.05");
  CHECK_EQ(tick_text(16384, Measure::count), "16,384");
  CHECK_EQ(tick_text(20000, Measure::flops), "20k");
  CHECK_EQ(tick_text(0.005, Measure::seconds), "5 ms");
  CHECK_EQ(tick_text(0x1p21, Measure::bytes), "2 MiB");
  Panel panel{.title = "a < b",
              .x = {.name = "N", .measure = Measure::count, .ticks = {10, 100}},
              .y = {.name = "error"},
              .series = {{.name = "first", .spots = {{10, 0.1, "ten"}, {100, 0.01}, {1000, 0}}},
                         {.name = "second", .spots = {{10, 0.5}}, .marker = Marker::cross, .line = false},
                         {.name = "nowhere", .spots = {{-1, 1}}}},
              .levels = {{.name = "N^2.5 < b", .value = 0.3}}};
  const std::string drawn = svg({.title = "T", .caption = {"C"}, .panels = {panel, panel, panel}});
  for (const char* text : {"a &lt; b", ">first<", ">second<", ">2.5</tspan><tspan dy=\"4\"> &lt; b<",
                           "<title>first: ten</title>", ">100<", ">C<"})
    CHECK_MESSAGE(count_of(drawn, text) > 0, text);
  CHECK_EQ(count_of(drawn, "nowhere"), 0);
  CHECK_EQ(count_of(drawn, "<g><title>"), 9);
  CHECK_EQ(count_of(drawn, "nan"), 0);
  const test::TemporaryFolder folder;
  test::write_text(folder / "picture.svg", drawn);
  check_page(folder / "picture.svg");
  test::write_text(folder / "empty.svg", svg({.title = "", .caption = {}, .panels = {{}}}));
  check_page(folder / "empty.svg");
}

TEST_CASE("compare_attention: wrong options") {
  const auto refused = [](const std::vector<std::string>& args, int status, const std::string& text) {
    const test::Finished finished = test::run_program("compare_attention", args);
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, status);
    CHECK_NE(finished.err.find(text), std::string::npos);
  };
  refused({"--inputs", "random,flat"}, 2, "--inputs: 'flat', expected one of random, smooth, peaked, stripes");
  refused({"--n", "64,4"}, 2, "--n: 4, expected a whole number between 16 and");
  refused({"--key", "64"}, 2, "unknown option --key; the nearest is --keys");
  refused({"--npy", "nowhere", "--n", "64"}, 2, "--n says what the files of --npy say themselves");
  refused({"--npy", "nowhere"}, 1, "q.npy");
  const test::TemporaryFolder folder;
  const std::string file = (folder / "file").string();
  test::write_text(file, "");
  refused({"--out", file + "/inside"}, 1, "--out " + file + "/inside: Not a directory");
  refused({"--out", file}, 1, "--out " + file + ": Not a directory");
}

TEST_CASE("compare_attention: the same numbers again, a table, pictures, a page") {
  const test::TemporaryFolder folder;
  const auto run = [&](const std::string& out) {
    const test::Finished finished = test::run_program(
        "compare_attention", {"--inputs", "smooth,stripes", "--n", "32,64", "--keys", "8,16", "--features", "8",
                              "--fit-steps", "10", "--time-n", "16,32,64", "--out", (folder / out).string()});
    CAPTURE(finished.err);
    REQUIRE_EQ(finished.status, 0);
    return finished.out;
  };
  const std::string said = run("first");
  run("second");
  const std::string errors = test::read_text(folder / "first" / "errors.json");
  CHECK_EQ(errors, test::read_text(folder / "second" / "errors.json"));
  for (const char* text :
       {"N = 64", "best rank", "fsat, cross of q and k", "paramixer, fitted", "segments of 8", "N^p"})
    CHECK_MESSAGE(said.find(text) != std::string::npos, text);
  const json found = json::parse(errors);
  CHECK_EQ(found.at("seed"), 1);
  std::set<std::string> ways;
  for (const json& row : found.at("rows")) ways.insert(row.at("way"));
  CHECK_EQ(ways.size(), 21);
  const json growth = json::parse(test::read_text(folder / "first" / "growth.json"));
  CHECK_EQ(growth.at("curves").size(), 6);
  CHECK_EQ(growth.at("curves").at(0).at("points").size(), 3);
  for (const json& curve : growth.at("curves"))
    for (const char* what : {"forward_seconds", "both_seconds", "forward_bytes", "both_bytes"}) {
      CHECK(curve.at("exponents").at(what).is_number());
      CHECK_GE(curve.at("within").at(what).get<double>(), 0);
    }
  for (const char* name :
       {"errors_by_work.svg", "errors_by_length.svg", "choices.svg", "ranks.svg", "growth.svg", "compare.html"})
    check_page(folder / "first" / name);
}

TEST_CASE("compare: the committed pictures are drawn from the committed numbers") {
  const std::filesystem::path folder = std::filesystem::path(SUBQUAD_SOURCE_DIR) / "examples" / "compare";
  const std::string errors = test::read_text(folder / "errors.json");
  const Comparison c = read_errors(errors);
  CHECK_MESSAGE(errors_json(c) == errors, "errors.json is not as compare_attention writes it");
  std::set<std::string> drawn;
  for (const NamedPicture& one : pictures(c)) {
    if (!std::filesystem::exists(folder / one.file)) continue;  // those that the page shows
    drawn.insert(one.file);
    CHECK_MESSAGE(svg(one.picture) == test::read_text(folder / one.file),
                  one.file << ": copy it and errors.json from what compare_attention --out writes");
  }
  CHECK_EQ(drawn, std::set<std::string>{"choices.svg", "errors_by_work.svg", "ranks.svg"});
  CHECK_THROWS_AS(read_errors("{\"rows\": 1}"), FormatError);
  CHECK_THROWS_AS(read_errors("no"), FormatError);
}

namespace {

struct TableRow {  // of the page, and where errors.json has it
  const char* name;
  const char* way;
  const char* budget;
};

constexpr TableRow kTableRows[] = {
    {"every row the mean of all values", "mean of all", ""},
    {"local, window 32", "local", "window 32"},
    {"nystrom, 32 landmarks", "nystrom", "32 landmarks"},
    {"combiner, segments of 32, max", "combiner, max", "segments of 32"},
    {"combiner, logsparse", "combiner, logsparse", ""},
    {"combiner, rowmajor, rows of 32", "combiner, rowmajor", "rows of 32"},
    {"combiner, vertical, rows of 32", "combiner, vertical", "rows of 32"},
    {"combiner, horizontal, rows of 32", "combiner, horizontal", "rows of 32"},
    {"combiner, mixture, rows of 32", "combiner, mixture", "rows of 32"},
    {"fsat, 32 lags and 32 columns, fresh", "fsat, fresh", "32 + 32"},
    {"fsat, its cross sees q and k", "fsat, cross of q and k", "32 + 32"},
    {"paramixer, 10 factors, fitted to this matrix in 500 steps", "paramixer, fitted", "10 factors of 11 links"},
    {"the same by CDIL's links, 3 a row", "paramixer, fitted, cdil", "10 factors of 3 links"},
    {"the same by CDIL's links, 9 a row", "paramixer, fitted, cdil", "10 factors of 9 links"},
    {"*most mass:* best 32 lags and 32 columns found", "best lags and columns", "32 + 32"},
    {"*most mass:* softmax over each query's best 64 keys", "best keys", "64 a query"},
    {"*bound:* any matrix with 64 numbers a row", "best sparse", "64 a query"},
    {"*bound:* any matrix of rank 32", "best rank", "rank 32"},
};

// "| a | b |" for each way in the order of the page; bounds have no flops, since nothing has to pay for them.
std::string table_line(const Comparison& c, const TableRow& row) {
  std::string line = cat("| ", row.name, " |");
  for (const char* inputs : {"random", "smooth", "peaked", "stripes"}) {
    const ErrorRow* found = find_row(c, inputs, 1024, row.way, row.budget);
    if (found == nullptr) return cat(row.name, ": errors.json has no such row for ", inputs);
    if (line.ends_with(cat(row.name, " |")))
      line +=
          std::string(row.name).starts_with("*bound") ? " |" : cat(" ", lra::grouped(std::llround(found->flops)), " |");
    line += cat(" ", fixed_text(found->matrix_error, 2), " |");
  }
  return line;
}

}  // namespace

TEST_CASE("compare: every cell of the page's table is what the committed numbers say") {
  const std::filesystem::path folder = std::filesystem::path(SUBQUAD_SOURCE_DIR) / "examples" / "compare";
  const Comparison c = read_errors(test::read_text(folder / "errors.json"));
  const std::string page = test::read_text(folder / "README.md");
  for (const TableRow& row : kTableRows) {
    const std::string line = table_line(c, row);
    CHECK_MESSAGE(page.find("\n" + line + "\n") != std::string::npos, "the page does not have: " << line);
  }
  CHECK_EQ(count_of(page, "\n| "), std::size(kTableRows) + 1);  // and the head
  const auto mass = [&](const char* way) { return find_row(c, "stripes", 1024, way, "32 + 32"); };
  for (const double said : {*mass("fsat, cross of q and k")->mass, *mass("best lags and columns")->mass,
                            *mass("best lags and columns")->most, *mass("fsat, fresh")->mass})
    CHECK_MESSAGE(page.find(fixed_text(said, 3)) != std::string::npos, "the page does not say " << said);
  std::set<std::string> told, measured;
  for (const TableRow& row : kTableRows) told.insert(row.way);
  for (const ErrorRow& row : c.errors)
    if (row.way.starts_with("combiner, ")) measured.insert(row.way);
  measured.erase("combiner, mean");  // hardly another than max
  for (const std::string& way : measured) CHECK_MESSAGE(told.contains(way), way << " has no row in the table");
}

TEST_CASE("compare_attention: --quick prints its table") {
  const test::Finished finished = test::run_program("compare_attention", {"--quick"});
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, 0);
  for (const char* text : {"N = 256", "about 32 keys a query", "N = 2,048", "no choice of as many: above"})
    CHECK_MESSAGE(finished.out.find(text) != std::string::npos, text);
}

TEST_CASE("compare_attention: files in place of drawn inputs") {
  const test::TemporaryFolder folder;
  for (const char* name : {"q", "k", "v"})
    write_npy(folder / (std::string(name) + ".npy"), test::normal({20, 4}, kFloat32, 7));
  const test::Finished finished = test::run_program(
      "compare_attention", {"--npy", folder.path().string(), "--keys", "8", "--fit-steps", "0", "--no-time"});
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, 0);
  CHECK_NE(finished.out.find("N = 20, one head of 4 features"), std::string::npos);
  CHECK_EQ(finished.out.find("paramixer, fitted"), std::string::npos);
  CHECK_EQ(finished.out.find("N^p"), std::string::npos);
}

TEST_SUITE_END();
