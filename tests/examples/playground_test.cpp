// The playgrounds: what their programs promise, and what the page on the engine says that one of them prints.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <regex>
#include <sstream>

#include "subquad/core/npy.h"
#include "subquad/examples/playground/recall.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/subprocess.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::playground;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::run_program;
using subquad::test::TemporaryFolder;

namespace fs = std::filesystem;

namespace {

const fs::path kRoot = SUBQUAD_SOURCE_DIR;

// All numbers of a line that stand behind a blank.
std::vector<double> numbers(const std::string& line) {
  static const std::regex kNumber(R"( (-?[0-9][0-9.e+-]*))");
  std::vector<double> found;
  for (std::sregex_iterator number(line.begin(), line.end(), kNumber), end; number != end; ++number)
    found.push_back(std::stod((*number)[1]));
  return found;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// softmax(q k^T / sqrt(E)) v of [N, E] in double.
Tensor slow_attention(const Tensor& q, const Tensor& k, const Tensor& v) {
  const Index n = q.dim(0), width = q.dim(1);
  Tensor out = zeros({n, v.dim(1)}, kFloat64, kCpu);
  for (Index i = 0; i < n; ++i) {
    std::vector<double> weight(static_cast<std::size_t>(k.dim(0)));
    double sum = 0;
    for (Index j = 0; j < k.dim(0); ++j) {
      double dot = 0;
      for (Index e = 0; e < width; ++e) dot += test::at(q, {i, e}) * test::at(k, {j, e});
      sum += weight[static_cast<std::size_t>(j)] = std::exp(dot / std::sqrt(static_cast<double>(width)));
    }
    for (Index j = 0; j < k.dim(0); ++j)
      for (Index c = 0; c < v.dim(1); ++c)
        out.data<double>()[i * v.dim(1) + c] += weight[static_cast<std::size_t>(j)] / sum * test::at(v, {j, c});
  }
  return out;
}

// q.npy, k.npy and v.npy of one shape in a folder.
struct NpyFiles {
  explicit NpyFiles(const Shape& shape) {
    for (const char* name : {"q", "k", "v"}) {
      tensors.push_back(empty(shape, kFloat32, kCpu));
      fill_normal(tensors.back(), 0, 1, 5, stream_id(name));
      args.push_back((folder / (std::string(name) + ".npy")).string());
      write_npy(args.back(), tensors.back());
    }
    args.push_back((folder / "out.npy").string());
  }
  std::vector<std::string> with(const std::vector<std::string>& more) const {
    std::vector<std::string> all = args;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  TemporaryFolder folder;
  std::vector<Tensor> tensors;
  std::vector<std::string> args;
};

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("playground: programs of one screen") {
  for (const auto& entry : fs::directory_iterator(kRoot / "examples" / "playground")) {
    if (entry.path().extension() != ".cpp") continue;
    CAPTURE(entry.path().string());
    const auto lines = lines_of(read_text(entry.path())).size();
    CHECK_LE(lines, entry.path().stem() == "own_attention" ? 60 : 80);
  }
}

TEST_CASE("playground: recall, whose answers stand where they are said to") {
  const RecallBatch batch = recall_batch(200, 3);
  std::vector<Index> seen(8, 0);
  for (Index b = 0; b < 200; ++b) {
    const std::int64_t* const row = batch.tokens.data<std::int64_t>() + b * 25;
    const Index asked = batch.asked.data<std::int64_t>()[b], answer = batch.answers.data<std::int64_t>()[b];
    std::vector<bool> told(24, false);
    for (Index i = 0; i < 24; ++i) {
      REQUIRE((row[i] >= 0 && row[i] < 192));
      told[static_cast<std::size_t>(row[i] / 8)] = true;
    }
    CHECK(std::all_of(told.begin(), told.end(), [](bool t) { return t; }));
    CHECK_EQ(row[24], 192 + row[asked] / 8);
    CHECK_EQ(row[asked] % 8, answer);
    ++seen[static_cast<std::size_t>(answer)];
  }
  CHECK_GT(*std::min_element(seen.begin(), seen.end()), 5);
  CHECK(test::same_bits(recall_batch(200, 3).tokens, batch.tokens));
  CHECK_FALSE(test::same_bits(recall_batch(200, 4).tokens, batch.tokens));
}

TEST_CASE("playground: own_attention learns") {
  const Finished run = run_program("own_attention", {});
  CAPTURE(run.out);
  CAPTURE(run.err);
  REQUIRE_EQ(run.status, 0);
  const std::vector<std::string> lines = lines_of(run.out);
  REQUIRE_EQ(lines.size(), 9);
  const std::vector<double> first = numbers(lines.front()), last = numbers(lines.back());  // step, loss, right, weight
  REQUIRE_EQ(first.size(), 4);
  REQUIRE_EQ(last.size(), 4);
  CHECK_GT(first[1], 1.5);
  CHECK_LT(last[1], 0.2 * first[1]);
  CHECK_LT(first[2], 50);
  CHECK_GT(last[2], 90);
  CHECK_GT(last[3], 2 * first[3]);

  const Finished refused = run_program("own_attention", {"softmux"});
  CHECK_EQ(refused.status, 2);
  CHECK_EQ(refused.err.find("own_attention: kind: 'softmux' is not in this build; available: softmax, nystrom"), 0);
  CHECK_EQ(run_program("own_attention", {"--help"}).status, 0);
  const Finished causal = run_program("own_attention", {"--causal"});
  CHECK_EQ(causal.status, 1);
  CHECK_EQ(causal.err,
           "own_attention: linear: causal is true, expected false: S and z sum over later positions, too\n");

  std::size_t shown = 0;  // on the page, where another processor may round the last digit otherwise
  for (const std::string& line : lines_of(read_text(kRoot / "examples" / "playground" / "README.md"))) {
    if (!line.starts_with("step ")) continue;
    CAPTURE(line);
    const std::vector<double> said = numbers(line);
    REQUIRE_EQ(said.size(), 4);
    const std::vector<double> found = numbers(lines.at(static_cast<std::size_t>(said[0]) / 100));
    for (std::size_t i = 0; i < 4; ++i) CHECK(found.at(i) == doctest::Approx(said[i]).epsilon(0.1));
    ++shown;
  }
  CHECK_EQ(shown, 4);
}

TEST_CASE("playground: own_primitive judges itself") {
  const Finished run = run_program("own_primitive", {});
  CAPTURE(run.out);
  REQUIRE_EQ(run.status, 0);
  for (const std::string& line : lines_of(run.out)) CHECK_LT(numbers(line).at(1), 1e-12);
  CHECK_EQ(lines_of(run.out).size(), 4);
  CHECK_EQ(run_program("own_primitive", {"--fast"}).status, 2);
}

TEST_CASE("playground: kernels_on_npy, against a double loop") {
  const NpyFiles files({37, 8});
  const Finished run = run_program("kernels_on_npy", files.args);
  CAPTURE(run.err);
  REQUIRE_EQ(run.status, 0);
  const Tensor expected = slow_attention(files.tensors[0], files.tensors[1], files.tensors[2]);
  CHECK_CLOSE(read_npy(files.args[3]), expected, test::dot_tolerance(kFloat32, 37));

  const Finished all = run_program("kernels_on_npy", files.with({"--landmarks", "37"}));
  REQUIRE_EQ(all.status, 0);
  const double with_all = numbers(all.out).at(0);
  const Finished few = run_program("kernels_on_npy", files.with({"--landmarks", "4"}));
  REQUIRE_EQ(few.status, 0);
  CHECK_LT(with_all, numbers(few.out).at(0));
  CHECK_GT(numbers(few.out).at(0), 0.01);
  CHECK_LT(numbers(few.out).at(0), 2);
  CHECK_EQ(read_npy(files.args[3]).shape(), Shape{37, 8});
}

TEST_CASE("playground: kernels_on_npy, heads, and what it refuses") {
  const NpyFiles files({2, 3, 5, 4});
  REQUIRE_EQ(run_program("kernels_on_npy", files.args).status, 0);
  const Tensor out = read_npy(files.args[3]);
  REQUIRE_EQ(out.shape(), Shape{2, 3, 5, 4});
  const auto head = [](const Tensor& t) { return t.select(0, 1).select(0, 2).contiguous(); };
  CHECK_CLOSE(head(out), slow_attention(head(files.tensors[0]), head(files.tensors[1]), head(files.tensors[2])), 1e-5);

  const auto refused = [](const std::vector<std::string>& args, int status, const std::string& text) {
    const Finished finished = run_program("kernels_on_npy", args);
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, status);
    CHECK_NE(finished.err.find(text), std::string::npos);
  };
  refused(files.with({"--landmarks", "6"}), 2, "--landmarks 6: there are 5 positions");
  refused(files.with({"--landmarks", "-3"}), 2, "--landmarks: -3, expected a whole number between 0 and");
  refused({files.args[0]}, 2, "files");
  refused({"no.npy", files.args[1], files.args[2], files.args[3]}, 1, "no.npy");
  write_npy(files.args[0], empty({5}, kFloat32, kCpu));
  refused(files.args, 1, "expected [N, E] or [B, H, N, E]");
}

TEST_CASE("playground: kernels_on_npy names the file that is wrong") {
  const auto refused = [](const NpyFiles& files, std::size_t wrong, const Tensor& x, const std::string& text,
                          const std::vector<std::string>& more = {}) {
    write_npy(files.args[wrong], x);
    const Finished finished = run_program("kernels_on_npy", files.with(more));
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, 1);
    CHECK_EQ(finished.err, cat("kernels_on_npy: ", files.args[wrong], text, "\n"));
    CHECK_FALSE(fs::exists(files.args[3]));
  };
  const std::string wide = " as [B, H, N, E]: [1, 1, 8, 4] float32 cpu, expected [1, 1, 7, 4] float32";
  refused(NpyFiles({7, 4}), 1, zeros({8, 4}, kFloat32, kCpu), wide, {"--landmarks", "3"});
  refused(NpyFiles({7, 4}), 2, zeros({8, 4}, kFloat32, kCpu), wide);
  refused(NpyFiles({7, 4}), 1, zeros({7, 4}, kFloat64, kCpu),
          " as [B, H, N, E]: [1, 1, 7, 4] float64 cpu, expected [1, 1, 7, 4] float32");
  refused(NpyFiles({7, 4}), 0, zeros({7, 4}, kInt64, kCpu),
          ": [7, 4] int64 cpu, expected [N, E] or [B, H, N, E], float32 or float64");
  refused(NpyFiles({7, 4}), 0, zeros({7, 0}, kFloat32, kCpu),
          ": [7, 0] float32 cpu, expected [N, E] or [B, H, N, E], float32 or float64");
  Tensor broken = zeros({7, 4}, kFloat32, kCpu);
  for (const float number : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    broken.data<float>()[5] = number;
    for (std::size_t file = 0; file < 3; ++file)
      refused(NpyFiles({7, 4}), file, broken, ": there is a number that is not finite", {"--landmarks", "3"});
  }

  const NpyFiles large({7, 4});
  for (const std::size_t file : {0, 1}) write_npy(large.args[file], full({7, 4}, 1e38, kFloat32, kCpu));
  const Finished finished = run_program("kernels_on_npy", large.with({"--landmarks", "3"}));
  CHECK_EQ(finished.status, 1);
  CHECK_EQ(finished.out, "");
  CHECK_EQ(finished.err, cat("kernels_on_npy: ", large.args[3], ": q and k are too large for a finite result\n"));
}

TEST_CASE("playground: kernels_on_npy, of zeros, and of more keys than queries") {
  const NpyFiles files({7, 4});
  write_npy(files.args[2], zeros({7, 4}, kFloat32, kCpu));
  const Finished nothing = run_program("kernels_on_npy", files.with({"--landmarks", "3"}));
  CHECK_EQ(nothing.status, 0);
  CHECK_EQ(nothing.out.find("relative error against the exact one: 0\n"), 0);

  Tensor k = empty({9, 4}, kFloat32, kCpu), v = empty({9, 3}, kFloat32, kCpu);
  fill_normal(k, 0, 1, 5, stream_id("more k"));
  fill_normal(v, 0, 1, 5, stream_id("more v"));
  write_npy(files.args[1], k);
  write_npy(files.args[2], v);
  REQUIRE_EQ(run_program("kernels_on_npy", files.args).status, 0);
  CHECK_CLOSE(read_npy(files.args[3]), slow_attention(files.tensors[0], k, v), test::dot_tolerance(kFloat32, 9));
}

TEST_CASE("playground: watch_backward prints what the page on the engine shows") {
  const Finished run = run_program("watch_backward", {}), dot = run_program("watch_backward", {"--dot"});
  REQUIRE_EQ(run.status, 0);
  REQUIRE_EQ(dot.status, 0);
  const fs::path folder = kRoot / "autograd";
  CHECK_NE(read_text(folder / "engine.md").find("\n```\n" + run.out + "```\n"), std::string::npos);
  CHECK_EQ(dot.out, read_text(folder / "engine.dot"));
  const std::string picture = read_text(folder / "engine.svg");  // Graphviz names nodes and edges in titles
  for (const std::string& line : lines_of(dot.out)) {
    static const std::regex kEdge(R"(\s+(\w+) -> (\w+).*)"), kNode(R"(\s+(\w+) \[shape.*)");
    std::smatch match;
    if (std::regex_match(line, match, kEdge))
      CHECK_NE(picture.find("<title>" + match[1].str() + "&#45;&gt;" + match[2].str() + "</title>"), std::string::npos);
    else if (std::regex_match(line, match, kNode))
      CHECK_NE(picture.find("<title>" + match[1].str() + "</title>"), std::string::npos);
  }
  CHECK_EQ(run_program("watch_backward", {"--dots"}).status, 2);
}

TEST_SUITE_END();
