// inspect_attention: what is in the page is what the library computes, for every attention and kind of input.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/examples/inspect/costs.h"
#include "subquad/examples/lra/options.h"
#include "subquad/tests/examples/imdb_data.h"
#include "subquad/tests/examples/looked_page.h"
#include "subquad/tests/examples/scratch_folder.h"

using namespace subquad;
using namespace subquad::test::inspected;
using subquad::test::ScratchFolder;

namespace {

Tensor less(const Tensor& a, const Tensor& b) {
  Tensor out = empty(a.shape(), kFloat32, kCpu);
  const auto x = a.view<const float, 2>(), y = b.view<const float, 2>();
  for (Index i = 0; i < a.dim(0); ++i)
    for (Index j = 0; j < a.dim(1); ++j) out.view<float, 2>()(i, j) = x(i, j) - y(i, j);
  return out;
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
  test::make_file(scratch / "words", "[MAX 2 9 ]\n");
  Args of_file = {"--task", "listops", "--attention", "softmax", "--max-length", "64", "--width", "16"};
  of_file.insert(of_file.end(), {"--file", (scratch / "words").string()});
  const std::string asked = subject_of(of_file).asked;  // the file, and what stands in it
  CHECK(asked.starts_with((scratch / "words").string() + ": [MAX 2 9 ]"));
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

TEST_SUITE_END();
