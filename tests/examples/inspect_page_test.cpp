// inspect_attention: what is in the page is what the library computes, for every attention and kind of input.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/core/safetensors.h"
#include "subquad/examples/inspect/costs.h"
#include "subquad/examples/inspect/curves.h"
#include "subquad/examples/inspect/page_data.h"
#include "subquad/examples/inspect/paramixer_factors.h"
#include "subquad/examples/inspect/reduced.h"
#include "subquad/examples/inspect/row_facts.h"
#include "subquad/examples/inspect/singular_values.h"
#include "subquad/examples/lra/options.h"
#include "subquad/nn/attention/combiner.h"
#include "subquad/nn/attention/fsat.h"
#include "subquad/nn/attention/nystrom.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/tests/examples/imdb_data.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::inspect;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::run_program;
using subquad::test::ScratchFolder;
using subquad::test::train_lra::Args;
using subquad::test::train_lra::Bench;

namespace {

const std::string kExpression = "[MAX 2 9 [MIN 4 7 ] 0 [SM 3 8 1 ] [MED 5 6 ] ]";

Subject subject_of(const Args& args) {
  InspectOptions options;
  REQUIRE(parse_inspect_options(args, options));
  return open_subject(options);
}

// Of a tiny model, where `more` does not say otherwise.
Subject fresh(const Args& more, const std::string& input = kExpression) {
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

// As the page reads it.
std::vector<double> cells_of(const Json& cells) {
  const std::vector<std::uint8_t> bytes = bytes_of(cells.at("data").get<std::string>());
  const double low = cells.at("low").get<double>(), high = cells.at("high").get<double>();
  std::vector<double> values;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
    values.push_back(low + (high - low) * (bytes[i] + 256.0 * bytes[i + 1]) / 65535);
  return values;
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

// How far cells are from a matrix, in what rounding to 16 bits of their own range may do: 1 at most.
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

Tensor less(const Tensor& a, const Tensor& b) {
  Tensor out = empty(a.shape(), kFloat32, kCpu);
  const auto x = a.view<const float, 2>(), y = b.view<const float, 2>();
  for (Index i = 0; i < a.dim(0); ++i)
    for (Index j = 0; j < a.dim(1); ++j) out.view<float, 2>()(i, j) = x(i, j) - y(i, j);
  return out;
}

// Of those at the top of a head.
const Json* picture_of(const Json& data, const Json& head, const std::string& id) {
  for (const Json& number : head.at("sections")[0].at("parts")[0].at("groups")[0])
    if (const Json& picture = data.at("pictures")[number.get<std::size_t>()]; picture.at("id") == id) return &picture;
  return nullptr;
}

Tensor exact_softmax(const LayerSight& layer, const Subject& subject, Index head) {
  return layer_matrices(layer, subject.attention()).softmax.select(0, head);
}

Tensor band_of(const Tensor& matrix, const Tensor& alone, const Subject& subject) {
  Tensor out = less(matrix, alone);
  const auto cells = out.view<float, 2>();
  for (Index i = 0; i < out.dim(0); ++i)
    for (Index j = 0; j < out.dim(1); ++j)
      if (std::abs(i - j) > subject.attention().nystrom.conv_kernel / 2) {
        CHECK_LE(std::abs(cells(i, j)), 2e-6);
        cells(i, j) = 0;
      }
  return out;
}

// Every mixing matrix of a page is the library's, asked for once more, and so are differences from softmax's: also
// where nothing is approximated and they are roundings alone.
void check_mixing(Subject& subject, double megabytes = 15) {
  const Json data = data_of(finished_page(page_data(subject), static_cast<std::size_t>(1e6 * megabytes)).html);
  const Sight sight = look(subject.learner->model(), subject.batch, subject.part);
  REQUIRE_EQ(data.at("layers").size(), sight.layers.size());
  for (std::size_t l = 0; l < sight.layers.size(); ++l) {
    const Tensor mixing = sight.layers[l].attention->mixing_matrix(sight.layers[l].in).select(0, 0);
    const Json& heads = data.at("layers")[l].at("heads");
    REQUIRE_EQ(static_cast<Index>(heads.size()), mixing.dim(0));
    for (std::size_t h = 0; h < heads.size(); ++h) {
      const auto head = static_cast<Index>(h);
      const Tensor matrix = mixing.select(0, head);
      CHECK_EQ(heads[h].at("sections").size(), 3);
      check_picture(*picture_of(data, heads[h], "mixing"), matrix);
      if (!picture_of(data, heads[h], "softmax")) continue;
      const Tensor exact = exact_softmax(sight.layers[l], subject, head);
      const Json* alone = picture_of(data, heads[h], "alone");
      const Tensor compared =
          alone ? layer_matrices(sight.layers[l], subject.attention()).alone.select(0, head) : matrix;
      check_picture(*picture_of(data, heads[h], "difference"), less(compared, exact));
      if (!alone) continue;
      check_picture(*alone, compared);
      check_picture(*picture_of(data, heads[h], "convolution"), band_of(matrix, compared, subject));
    }
  }
  CHECK_EQ(static_cast<Index>(data.at("tokens").size()), sight.layers[0].in.values.dim(1));
}

void check_refused(const Args& args, int status, const std::string& text) {
  const Finished finished = run_program("inspect_attention", args);
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, status);
  CHECK_EQ(finished.out, "");
  CHECK_NE(finished.err.find(text), std::string::npos);
  CHECK_EQ(std::ranges::count(finished.err, '\n'), 1);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("inspect page: its matrices are mixing_matrix, for every attention") {
  const std::vector<Args> kinds = {
      {"--attention", "softmax", "--layers", "2"},
      {"--attention", "softmax", "--causal"},
      {"--attention", "nystrom", "--landmarks", "4", "--conv-kernel", "5"},
      {"--attention", "nystrom", "--landmarks", "64", "--conv-kernel", "0"},
      {"--attention", "nystrom", "--landmarks", "4", "--nystrom-mask", "lucidrains"},
      {"--attention", "fsat", "--lags", "5", "--columns", "3", "--fsat-window", "1"},
      {"--attention", "fsat", "--lags", "5", "--columns", "0", "--fsat-window", "-1"},
      {"--attention", "paramixer"},
      {"--attention", "paramixer", "--protocol", "butterfly", "--pooling", "flatten", "--mix-padding"},
      {"--attention", "paramixer", "--protocol", "cdil", "--pooling", "cls"},
      {"--attention", "paramixer", "--model", "encoder", "--paramixer-mix-padding"},
      {"--attention", "combiner"},
      {"--attention", "combiner", "--combiner-pattern", "logsparse", "--causal"},
      {"--attention", "combiner", "--combiner-pattern", "average"},
      {"--attention", "combiner", "--combiner-pattern", "rowmajor"},
      {"--attention", "local", "--local-window", "2", "--pooling", "cls"}};
  for (const Args& args : kinds) {
    const std::string options = std::accumulate(args.begin(), args.end(), std::string());
    CAPTURE(options);
    Subject subject = fresh(args);
    check_mixing(subject);
    check_mixing(subject, 0.06);  // blocks
    Subject one = fresh(args, "7");
    check_mixing(one);
  }
}

TEST_CASE("inspect page: positions are named, padding and the model's own token, too") {
  const auto tokens = [](const Args& more) {
    Subject subject = fresh(more, "[MAX 2 9 ]");
    const Json data = page_data(subject).data;
    return std::pair{data.at("tokens").get<std::vector<std::string>>(), data.at("facts").dump()};
  };
  CHECK_EQ(tokens({"--attention", "softmax"}).first, Args{"[MAX", "2", "9", "]"});
  CHECK_EQ(tokens({"--attention", "softmax", "--pooling", "cls"}).first, Args{"cls", "[MAX", "2", "9", "]"});
  const auto [padded, facts] =
      tokens({"--attention", "paramixer", "--pooling", "flatten", "--mix-padding", "--max-length", "6"});
  CHECK_EQ(padded, Args{"[MAX", "2", "9", "]", "pad", "pad"});
  CHECK_NE(facts.find("4 of them tokens of the input, 2 padding"), std::string::npos);
}

TEST_CASE("inspect page: texts, pairs and images") {
  Subject text = subject_of({"--task", "text", "--attention", "nystrom", "--landmarks", "3", "--width", "8", "--layers",
                             "1", "--max-length", "64", "a\xff\n<b>"});
  CHECK_EQ(page_data(text).data.at("tokens").dump(), R"(["a","\\xFF","⏎","<","b",">"])");
  check_mixing(text);

  const Args pair = {"--task", "imdb-pairs", "--attention", "combiner",     "--width",
                     "8",      "--layers",   "2",           "--max-length", "64"};
  for (const std::string which : {"1", "2"}) {
    Args args = pair;
    args.insert(args.end(), {"--of-pair", which, "first", "other one"});
    Subject subject = subject_of(args);
    CHECK_EQ(page_data(subject).data.at("tokens")[0], which == "1" ? "f" : "o");
    check_mixing(subject);
  }

  const ScratchFolder scratch;
  std::string pixels(1024, '\0');
  pixels[33] = 'A';
  test::make_file(scratch / "grey", pixels);
  Subject image = subject_of({"--task", "image", "--attention", "local", "--local-window", "1", "--width", "4",
                              "--heads", "1", "--layers", "1", "--zero-is-pad", "--file", (scratch / "grey").string()});
  const Json data = page_data(image).data;
  CHECK_EQ(data.at("details")[33], "row 1, column 1, grey 65");
  CHECK_EQ(data.at("details")[34], "row 1, column 2, grey 0, hidden by the mask");
  CHECK_EQ(data.at("image").at("rows"), 32);
}

// The row of a table that begins with a name.
std::vector<std::string> row_named(const Json& table, const std::string& name) {
  for (const Json& row : table.at("rows"))
    if (row[0] == name) return row.get<std::vector<std::string>>();
  return {};
}

TEST_CASE("inspect page: ranks of the logits, of a Paramixer and of its factors") {
  const auto sections_of = [](const Args& args) {
    Subject subject = fresh(args);
    return page_data(subject).data.at("layers")[0].at("heads")[0].at("sections");
  };
  const Json softmax = sections_of({"--attention", "softmax", "--heads", "2"});
  const Json& numbers = softmax[1].at("parts");
  CHECK_EQ(row_named(numbers[0], "q kᵀ/√E")[2], "8 of 18");  // E = 16 / 2
  const Json& lines = numbers[1].at("charts")[0].at("lines");
  CHECK_EQ(lines[2].at("values").size(), 8);
  CHECK(lines[3].at("limit").get<bool>());
  const double level = lines[3].at("points")[0][1].get<double>(), largest = lines[0].at("values")[0].get<double>();
  CHECK_EQ(level / largest / 1.1920929e-7, doctest::Approx(18).epsilon(1e-3));  // N eps, in four digits

  for (const std::string residual : {"running", "fixed", "none"}) {
    const Json paramixer = sections_of({"--attention", "paramixer", "--residual", residual});
    const Json& ranks = paramixer[1].at("parts");
    CHECK_EQ(ranks[1].at("charts")[0].at("lines").back().at("name"), "float64's limit");
    const Json& factors = paramixer[2].at("parts")[1];
    REQUIRE_EQ(factors.at("rows").size(), 6);
    for (const Json& row : factors.at("rows")) {
      CHECK_EQ(row[0].get<std::string>().starts_with("I + W"), residual == "running");
      if (residual == "running") CHECK_EQ(row[4], "18 of 18");
    }
  }
}

// In float64 a Paramixer is what it is in float32, to that one's rounding; its factors make it.
TEST_CASE("inspect page: a Paramixer's factors in float64") {
  for (const std::string residual : {"running", "fixed", "none"}) {
    CAPTURE(residual);
    const Subject subject = fresh({"--attention", "paramixer", "--residual", residual});
    const Sight sight = look(subject.learner->model(), subject.batch);
    const ParamixerFactors found = paramixer_factors(sight.layers[0], subject.attention().paramixer, 100);
    const Tensor single = sight.layers[0].attention->mixing_matrix(sight.layers[0].in).select(0, 0).select(0, 0);
    const auto a = found.product.view<const double, 2>();
    const auto b = single.view<const float, 2>();
    const Index n = a.dim(0);
    std::vector<double> product(static_cast<std::size_t>(n * n));
    for (Index i = 0; i < n; ++i) product[static_cast<std::size_t>(i * n + i)] = 1;
    for (const Tensor& factor : found.factors) {
      const std::vector<double> before = product;
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j) {
          double sum = residual == "fixed" && i == j ? 1 : 0;
          for (Index k = 0; k < n; ++k)
            sum += factor.view<const double, 2>()(i, k) * before[static_cast<std::size_t>(k * n + j)];
          product[static_cast<std::size_t>(i * n + j)] = sum;
        }
    }
    double largest = 0, worst = 0, apart = 0;
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) {
        largest = std::max(largest, std::abs(a(i, j)));
        worst = std::max(worst, std::abs(a(i, j) - static_cast<double>(b(i, j))));
        apart = std::max(apart, std::abs(a(i, j) - product[static_cast<std::size_t>(i * n + j)]));
      }
    CHECK_LE(worst, 1e-5 * largest);
    CHECK_LE(apart, 1e-13 * largest);
  }
}

TEST_CASE("inspect page: a mechanism that is softmax itself on its input says so, and no other one does") {
  const auto layer_of = [](const Args& args) {
    Subject subject = fresh(args);
    return page_data(subject).data.at("layers")[0];
  };
  const std::vector<std::pair<Args, std::string>> exact = {
      {{"--attention", "nystrom", "--conv-kernel", "0"}, "no more positions (18) than landmarks (64)"},
      {{"--attention", "nystrom"}, "softmax attention itself, and the convolution beside it"},
      {{"--attention", "fsat", "--lags", "18", "--columns", "0"}, "every diagonal is kept: there are 18"},
      {{"--attention", "fsat", "--lags", "0", "--columns", "18", "--fsat-window", "-1"}, "every column is kept"},
      {{"--attention", "combiner", "--segment", "32"}, "every query sees all tokens directly"},
      {{"--attention", "local", "--local-window", "17"}, "the window holds every key"}};
  for (const auto& [args, text] : exact) {
    const Json layer = layer_of(args);
    CAPTURE(layer.at("exact"));
    CHECK_NE(layer.at("exact").get<std::string>().find(text), std::string::npos);
  }
  const std::vector<Args> others = {{"--attention", "nystrom", "--landmarks", "4"},
                                    {"--attention", "nystrom", "--landmarks", "64", "--exact-when-covered", "false"},
                                    {"--attention", "fsat", "--lags", "3", "--columns", "2", "--fsat-window", "0"},
                                    {"--attention", "combiner", "--segment", "4"},
                                    {"--attention", "local", "--local-window", "2"},
                                    {"--attention", "paramixer"},
                                    {"--attention", "softmax"}};
  for (const Args& args : others) CHECK_EQ(layer_of(args).at("exact"), "");
  const Json covered = layer_of(exact[1].first).at("heads")[0].at("sections");
  CHECK_NE(covered[2].at("about").get<std::string>().find("Nothing: there are no more"), std::string::npos);
  CHECK_EQ(covered[2].dump().find("matrices"), std::string::npos);  // no factors, which nobody uses
}

// Softmax of q k^T / sqrt(E) by plain loops.
Tensor softmax_by_loops(const LayerSight& layer, Index head) {
  const NoGrad no_grad;
  const nn::Heads heads = layer.attention->project(layer.in);
  const Tensor queries = heads.q.value().select(0, 0).select(0, head),
               keys = heads.k.value().select(0, 0).select(0, head);
  const auto q = queries.view<const float, 2>(), k = keys.view<const float, 2>();
  Tensor out = empty({q.dim(0), q.dim(0)}, kFloat32, kCpu);
  for (Index i = 0; i < q.dim(0); ++i) {
    std::vector<double> row;
    for (Index j = 0; j < q.dim(0); ++j) {
      double logit = 0;
      for (Index e = 0; e < q.dim(1); ++e) logit += static_cast<double>(q(i, e)) * k(j, e);
      row.push_back(std::exp(logit / std::sqrt(static_cast<double>(q.dim(1)))));
    }
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    for (Index j = 0; j < q.dim(0); ++j)
      out.view<float, 2>()(i, j) = static_cast<float>(row[static_cast<std::size_t>(j)] / sum);
  }
  return out;
}

// Entropies of rows of |a| by plain loops.
std::vector<double> entropy_by_loops(const Tensor& matrix) {
  const auto a = matrix.view<const float, 2>();
  std::vector<double> bits;
  for (Index i = 0; i < a.dim(0); ++i) {
    double sum = 0, entropy = 0;
    for (Index j = 0; j < a.dim(1); ++j) sum += std::abs(static_cast<double>(a(i, j)));
    for (Index j = 0; j < a.dim(1); ++j)
      if (const double p = std::abs(static_cast<double>(a(i, j))) / sum; p > 0) entropy -= p * std::log2(p);
    bits.push_back(entropy);
  }
  return bits;
}

// Curves have four digits. `scale`: what roundings of float32 are shares of.
void check_line(const Json& line, const std::vector<double>& expected, double scale) {
  CAPTURE(line.at("name"));
  const Json& values = line.at("values");
  REQUIRE_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK_LE(std::abs(values[i].get<double>() - expected[i]), 6e-4 * std::abs(expected[i]) + 1e-5 * scale);
}

// The picture of a head's last section that has this name, wherever it stands.
const Json* decided_picture(const Json& data, const Json& part, const std::string& id) {
  if (part.is_object() && part.contains("groups"))
    for (const Json& group : part.at("groups"))
      for (const Json& number : group)
        if (const Json& found = data.at("pictures")[number.get<std::size_t>()]; found.at("id") == id) return &found;
  if (part.is_structured())
    for (const Json& inner : part)
      if (const Json* found = decided_picture(data, inner, id)) return found;
  return nullptr;
}

void check_decided(const Json& data, const Json& head, const std::string& id, const Tensor& matrix) {
  CAPTURE(id);
  const Json* picture = decided_picture(data, head.at("sections")[2], id);
  REQUIRE(picture != nullptr);
  check_picture(*picture, matrix);
}

// A page of one layer and what it is about.
struct Looked {
  explicit Looked(const Args& args) : subject(fresh(args)), sight(look(subject.learner->model(), subject.batch)) {
    data = data_of(finished_page(page_data(subject), 15'000'000).html);
  }
  const LayerSight& layer() const { return sight.layers[0]; }
  const Json& head(Index h) const { return data.at("layers")[0].at("heads")[static_cast<std::size_t>(h)]; }
  const Json& chart(Index h, std::size_t which) const {
    return head(h).at("sections")[1].at("parts")[1].at("charts")[which].at("lines");
  }
  Subject subject;
  Sight sight;
  Json data;
};

TEST_CASE("inspect page: softmax, spectra and entropies are what loops and the library find") {
  for (const Args& args : {Args{"--attention", "nystrom", "--landmarks", "4", "--conv-kernel", "0"},
                           Args{"--attention", "fsat", "--lags", "5", "--columns", "3", "--fsat-window", "1"},
                           Args{"--attention", "combiner"}}) {
    CAPTURE(args[1]);
    const Looked page(args);
    const Tensor mixing = page.layer().attention->mixing_matrix(page.layer().in).select(0, 0);
    for (Index h = 0; h < mixing.dim(0); ++h) {
      const Tensor matrix = mixing.select(0, h).contiguous(), softmax = softmax_by_loops(page.layer(), h);
      const Json* picture = picture_of(page.data, page.head(h), "softmax");
      REQUIRE(picture != nullptr);
      CHECK_LE(cells_apart(*picture, softmax), 1.5);  // exponentials are rounded on both sides
      CHECK_GT(cells_apart(*picture, softmax.transpose(0, 1).contiguous()), 100);  // an error would be seen
      CHECK_GT(cells_apart(*picture_of(page.data, page.head(h), "mixing"), matrix.transpose(0, 1).contiguous()), 100);
      const std::vector<Tensor> both = {matrix, softmax};
      for (std::size_t i = 0; i < both.size(); ++i) {
        const Tensor found = singular_values(both[i].to(kFloat64), SvdMethod::own);
        const auto s = found.span<double>();
        check_line(page.chart(h, 0)[i], {s.begin(), s.end()}, s.front());
        check_line(page.chart(h, 1)[i], entropy_by_loops(both[i]), 5);
      }
    }
  }
}

TEST_CASE("inspect page: what a Nyströmformer decided is what its factors are") {
  const Looked page({"--attention", "nystrom", "--landmarks", "4"});
  const auto& attention = dynamic_cast<const nn::NystromAttention&>(*page.layer().attention);
  const nn::NystromFactors f = attention.factors(page.layer().in);
  for (Index h = 0; h < attention.heads(); ++h) {
    const auto of = [h](const Tensor& factor) { return factor.select(0, 0).select(0, h).contiguous(); };
    check_decided(page.data, page.head(h), "F", of(f.f));
    check_decided(page.data, page.head(h), "A", of(f.a));
    check_decided(page.data, page.head(h), "Z", of(f.z));
    check_decided(page.data, page.head(h), "S", of(f.s));
    const Tensor a = of(f.a), z = of(f.z);
    double squares = 0;
    for (Index i = 0; i < 4; ++i)
      for (Index j = 0; j < 4; ++j) {
        double gap = i == j ? -1 : 0;
        for (Index k = 0; k < 4; ++k)
          gap += static_cast<double>(a.view<const float, 2>()(i, k)) * z.view<const float, 2>()(k, j);
        squares += gap * gap;
      }
    const Json& residual = page.head(h).at("sections")[2].at("parts")[1].at("charts")[0].at("lines")[0].at("values");
    CHECK_EQ(residual.back().get<double>(), doctest::Approx(std::sqrt(squares)).epsilon(1e-3));
  }
}

TEST_CASE("inspect page: what FSAT decided: scores, and lags that the window forced beside those that won") {
  const Looked page({"--attention", "fsat", "--lags", "7", "--columns", "3", "--fsat-window", "1"});
  const auto& attention = dynamic_cast<const nn::FsatAttention&>(*page.layer().attention);
  const NoGrad no_grad;
  const nn::FsatAttention::Decision decision = attention.decide(page.layer().in);
  const Index n = page.layer().in.values.dim(1);
  for (Index h = 0; h < attention.heads(); ++h) {
    const Json& parts = page.head(h).at("sections")[2].at("parts");
    const Json& lag = parts[0].at("charts")[0];
    const Tensor scores = decision.scores.lag.value().select(0, 0).select(0, h).contiguous();
    const Json& curve = lag.at("lines")[0];
    const auto score = scores.span<float>();
    std::vector<double> in_order;
    for (Index i = 0; i < n; ++i)
      in_order.push_back(score[static_cast<std::size_t>((curve.at("first").get<Index>() + i + n) % n)]);
    check_line(curve, in_order, 1);
    std::vector<Index> shown, chosen;
    for (const Json& point : lag.at("forced")) CHECK_LE(std::abs(point[0].get<Index>()), 1);
    for (const Json& point : lag.at("marks")) CHECK_GT(std::abs(point[0].get<Index>()), 1);
    for (const std::string kind : {"forced", "marks"})
      for (const Json& point : lag.at(kind)) shown.push_back((point[0].get<Index>() + n) % n);
    const Tensor list = decision.chosen.lags.select(0, 0).select(0, h).contiguous();
    for (const Index x : list.span<std::int64_t>())
      if (x >= 0) chosen.push_back(x);
    std::ranges::sort(shown);
    std::ranges::sort(chosen);
    CHECK_EQ(shown, chosen);
    CHECK_EQ(lag.at("forced").size(), 3);
    CHECK_EQ(parts[1].at("rows")[0][1], "-1, 0, 1");
  }
}

TEST_CASE("inspect page: what Paramixer and Combiner decided are their factors and weights") {
  const Looked mixer({"--attention", "paramixer"});
  const auto& paramixer = dynamic_cast<const nn::Paramixer&>(*mixer.layer().attention);
  const Tensor weights = paramixer.link_weights(mixer.layer().in).value().select(1, 0);
  for (Index m = 0; m < weights.dim(0); ++m) {
    check_decided(mixer.data, mixer.head(0), cat("links", m + 1), weights.select(0, m).contiguous());
    check_decided(mixer.data, mixer.head(0), cat("product", m + 1),
                  paramixer.partial_matrix(mixer.layer().in, m + 1).select(0, 0).select(0, 0).contiguous());
  }
  for (const std::string pattern : {"fixed", "average"}) {
    const Looked page({"--attention", "combiner", "--combiner-pattern", pattern});
    const auto& combiner = dynamic_cast<const nn::CombinerAttention&>(*page.layer().attention);
    const nn::CombinerWeights found = combiner.weights(page.layer().in);
    for (Index h = 0; h < combiner.heads(); ++h) {
      const auto of = [h](const Tensor& all) { return all.select(0, 0).select(0, h).contiguous(); };
      check_decided(page.data, page.head(h), "direct", of(found.direct));
      check_decided(page.data, page.head(h), "summaries", of(found.summaries));
      check_decided(page.data, page.head(h), "local", of(found.local));
      const std::string about = page.head(h).at("sections")[2].at("about");
      CHECK_EQ(about.find("the mean of two softmaxes") != std::string::npos, pattern == "average");
    }
  }
}

TEST_CASE("inspect page: operations that nobody told are a dash, and what the comparison counts is said") {
  const Looked page({"--attention", "nystrom", "--landmarks", "4"});
  const std::string costs = page.data.at("sections")[1].dump();
  CHECK_EQ(costs.find("\"0 flop\""), std::string::npos);
  CHECK_NE(row_named(page.data.at("sections")[1].at("parts")[0], "    landmark_softmax"), std::vector<std::string>{});
  CHECK_EQ(row_named(page.data.at("sections")[1].at("parts")[0], "    landmark_softmax")[1], "–");
  CHECK_NE(costs.find("Projections left out, softmax"), std::string::npos);
  CHECK_NE(Looked({"--attention", "paramixer"}).data.dump().find("(factor_mlp) among them"), std::string::npos);
}

TEST_CASE("inspect page: typed inputs may be longer than a name of a file") {
  const Args text = {"--task", "text", "--attention", "local", "--width", "4", "--heads", "1", "--layers", "1"};
  Args args = text;
  args.insert(args.end(), {"--max-length", "400", std::string(300, 'a')});
  const Subject subject = subject_of(args);
  CHECK_EQ(subject.batch.ids.dim(1), 300);
  InspectOptions options;
  CHECK_THROWS_WITH(parse_inspect_options({std::string(300, 'a')}, options),
                    doctest::Contains("is no folder of a run"));
}

// Each token of the input comes once, so that its row of the table is its position's alone.
TEST_CASE("inspect page: gradients of tokens are slopes of the predicted class's logit") {
  for (const std::string kind : {"softmax", "nystrom", "combiner"}) {
    CAPTURE(kind);
    Subject subject = fresh({"--attention", kind}, "[MAX 2 9 4 ]");
    nn::Classifier& model = subject.learner->model();
    const Sight sight = look(model, subject.batch);
    const auto logit = [&] {
      const NoGrad no_grad;
      const Tensor logits = model(subject.batch.ids, subject.batch.mask, RandomState()).value();
      return logits.span<float>()[static_cast<std::size_t>(sight.predicted)];
    };
    std::vector<Variable> all = model.parameters();
    Variable& table = *std::ranges::find_if(all, [](const Variable& p) { return p.name().ends_with("tokens.weight"); });
    const Index width = table.dim(1);
    for (std::size_t i = 0; i < sight.gradient.size(); ++i) {
      double squares = 0;
      for (Index d = 0; d < width; ++d) {
        float& x = table.mutable_value().data<float>()[subject.batch.ids.span<std::int64_t>()[i] * width + d];
        const float before = x, step = 1e-3f;
        x = before + step;
        const double above = logit();
        x = before - step;
        const double below = logit();
        x = before;
        squares += std::pow((above - below) / (2 * step), 2);
      }
      CHECK_EQ(sight.gradient[i], doctest::Approx(std::sqrt(squares)).epsilon(.02));
    }
  }
}

TEST_CASE("inspect page: a file keeps to its size, down to blocks of everything") {
  Subject subject = fresh({"--attention", "nystrom", "--landmarks", "4"});
  for (const double megabytes : {15.0, 0.2, 0.1}) {
    const auto [html, keeps_limit] = finished_page(page_data(subject), static_cast<std::size_t>(1e6 * megabytes));
    CHECK(keeps_limit);
    CHECK_LE(static_cast<double>(html.size()), 1e6 * megabytes);
  }
}

TEST_CASE("inspect page: a file that cannot keep to its size says so, and still shows something") {
  Subject subject = fresh({"--attention", "nystrom", "--landmarks", "4"});
  const auto [html, keeps_limit] = finished_page(page_data(subject), 1000);
  CHECK_FALSE(keeps_limit);
  const Json data = data_of(html);
  CHECK_NE(data.at("facts").dump().find("is larger than the 1 kB that were asked for"), std::string::npos);
  const Json& rows = data.at("pictures")[0].at("rows");
  CHECK_GT(rows.at("count").get<Index>(), 4 * rows.at("block").get<Index>());
}

TEST_CASE("inspect page: long curves are means, least and largest values of pieces") {
  Line long_line{"x", {}};
  for (int i = 0; i < 1003; ++i) long_line.points.push_back({i + 1.0, std::sin(i) * (i % 100 == 7 ? 5 : 1)});
  const auto mean_of = [&](std::size_t begin, std::size_t end) {
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += long_line.points[i][1];
    return sum / static_cast<double>(end - begin);
  };
  const Json even = curve_record(long_line, false);
  const std::size_t step = even.at("step").get<std::size_t>();
  CHECK_EQ(step, 5);
  CHECK_EQ(even.at("last"), 1003);
  REQUIRE_EQ(even.at("values").size(), 201);
  for (std::size_t k = 0; k < 201; ++k) {
    const std::size_t begin = k * step, end = std::min<std::size_t>(begin + step, 1003);
    double least = 1e9, largest = -1e9;
    for (std::size_t i = begin; i < end; ++i) {
      least = std::min(least, long_line.points[i][1]);
      largest = std::max(largest, long_line.points[i][1]);
    }
    CHECK_EQ(even.at("values")[k].get<double>(), doctest::Approx(mean_of(begin, end)).epsilon(1e-3));
    CHECK_EQ(even.at("least")[k].get<double>(), doctest::Approx(least).epsilon(1e-3));
    CHECK_EQ(even.at("largest")[k].get<double>(), doctest::Approx(largest).epsilon(1e-3));
  }

  const Json far = curve_record(long_line, true);
  const std::vector<std::size_t> starts = far.at("starts").get<std::vector<std::size_t>>();
  CHECK_LE(starts.size(), 250);
  CHECK_EQ(std::vector(starts.begin(), starts.begin() + 3), std::vector<std::size_t>{1, 2, 3});
  for (std::size_t k = 0; k < starts.size(); ++k) {
    const std::size_t end = k + 1 < starts.size() ? starts[k + 1] : 1004;
    CHECK_EQ(far.at("values")[k].get<double>(), doctest::Approx(mean_of(starts[k] - 1, end - 1)).epsilon(1e-3));
  }

  Json page = {{"parts", {{{"lines", {even, far, curve_record({"few", {{0, 1}, {1, 2.5}}}, false)}}}}}};
  shorten_curves(page, 100);
  const Json& lines = page.at("parts")[0].at("lines");
  for (const std::size_t i : {0, 1}) {
    CHECK_LE(lines[i].at("values").size(), 50);
    const auto largest = lines[i].at("largest").get<std::vector<double>>();
    CHECK_EQ(std::ranges::max(largest),
             doctest::Approx(std::ranges::max(even.at("largest").get<std::vector<double>>())));
  }
  CHECK_EQ(lines[0].at("values")[0].get<double>(),
           doctest::Approx(mean_of(0, lines[0].at("step").get<std::size_t>())).epsilon(2e-3));
  CHECK_EQ(lines[2], Json({{"name", "few"}, {"first", 0}, {"values", {1, 2.5}}}));
}

TEST_CASE("inspect page: costs are those of the equations") {
  Subject subject = fresh({"--attention", "softmax"});
  const Sight sight = look(subject.learner->model(), subject.batch);
  const double n = static_cast<double>(sight.layers[0].in.values.dim(1)), d = 16;
  const std::vector<PartCost> parts = costs(sight.layers[0], 1);
  REQUIRE_EQ(parts.size(), 3);
  CHECK_EQ(parts[0].sum().flops, doctest::Approx(6 * n * d * d).epsilon(.1));
  CHECK_EQ(parts[1].sum().flops, doctest::Approx(4 * n * n * d).epsilon(.1));
  CHECK_EQ(parts[2].sum().flops, doctest::Approx(2 * n * d * d).epsilon(.1));
  for (const PartCost& part : parts) CHECK_GT(part.sum().bytes, 0);
}

TEST_CASE("inspect_attention: a run's page, and what it cannot do") {
  const Bench bench;
  const std::string run = bench.run("run"), page = bench.run("page.html"), matrices = bench.run("m.safetensors");
  Args training = bench.args("run", {"--steps", "4", "--evaluate-every", "2"});
  REQUIRE_EQ(test::train_lra::train(training).status, 0);
  const Finished finished =
      run_program("inspect_attention", {run, "[MAX 2 9 ]", "--out", page, "--matrices", matrices});
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  const Json data = data_of(read_text(page));
  CHECK_NE(data.at("facts").dump().find("checkpoint best, step"), std::string::npos);
  CHECK_EQ(data.at("answer").at("asked"), "[MAX 2 9 ]");
  const Finished predicted = run_program("predict_lra", {run, "[MAX 2 9 ]", "--json"});
  const Json classes = Json::parse(predicted.out).at("answers")[0].at("classes");
  CHECK_EQ(data.at("answer").at("classes")[0].at("name"), classes[0].at("name"));
  CHECK_EQ(data.at("answer").at("classes")[0].at("probability").get<double>(),
           doctest::Approx(classes[0].at("probability").get<double>()));
  const SafetensorsFile exact = read_safetensors(matrices);
  const Json& groups = data.at("layers")[0].at("heads")[0].at("sections")[0].at("parts")[0].at("groups")[0];
  check_picture(data.at("pictures")[groups[0].get<std::size_t>()], exact.tensors.at("layer1.mixing").select(0, 0));

  check_refused({}, 2, "expected the folder of a run, or --task and --attention for a fresh model");
  check_refused({run}, 2, "expected an expression such as");
  check_refused({run, "[MAX 2 x ]"}, 1, "\"[MAX 2 x ]\": token 3");
  check_refused({run, "1", "2"}, 2, "one input at a time");
  check_refused({run, "7", "--landmarks", "5"}, 2, "has a task and a model of its own");
  check_refused({run, "7", "--checkpoint", "last.bin"}, 1, "there is no such file");
  check_refused({bench.run("none"), "7"}, 2, "is no folder of a run");
  check_refused({"--attention", "nystrm", "7"}, 2, "available: ");
  check_refused({"--attention", "softmax", "--landmarks", "5", "7"}, 2, "--landmarks 5 belongs to --attention nystrom");
  check_refused({"--attention", "softmax", "--layers", "0", "7"}, 1, "the model has no attention");
  check_refused({"--attention", "softmax", "--of-pair", "2", "7"}, 2, "--task listops is not about pairs");
  check_refused({"--attention", "softmax", "--max-length", "3", "[MAX 1 2 ]"}, 1, "the model takes at most 3");
  check_refused({"--attention", "softmax", "7", "--out", bench.run("none/x.html")}, 1, "none/x.html");
  check_refused({"--attention", "softmax", "7", "--ot", "x"}, 2, "the nearest is --out");
}

TEST_SUITE_END();
