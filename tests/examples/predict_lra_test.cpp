// predict_lra as its users run it, and how each task reads one input.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/predict.h"
#include "subquad/examples/lra/saved_model.h"
#include "subquad/examples/lra/scoring.h"
#include "subquad/examples/lra/tasks/listops.h"
#include "subquad/examples/lra/tasks/pathfinder_folder.h"
#include "subquad/examples/lra/tasks/png.h"
#include "subquad/tests/examples/imdb_data.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::lra;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::made_reviews;
using subquad::test::make_file;
using subquad::test::read_text;
using subquad::test::run_program;
using subquad::test::ScratchFolder;
using subquad::test::write_imdb_tsv;

namespace fs = std::filesystem;

namespace {

Finished predict(const Args& args) {
  return run_program("predict_lra", args);
}

void check_refused(const Args& args, int status, const std::string& text) {
  const Finished finished = predict(args);
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, status);
  CHECK_EQ(finished.out, "");
  CHECK_NE(finished.err.find(text), std::string::npos);
}

// Label, predicted class and its probability of each test sample, as eval_lra writes them.
std::vector<std::array<std::string, 3>> scored(const Bench& bench) {
  const Finished finished = run_program("eval_lra", {bench.run("run"), "--predictions", bench.run("lines.tsv")});
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  std::vector<std::array<std::string, 3>> found;
  std::istringstream lines(read_text(bench.run("lines.tsv")));
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string number;
    std::array<std::string, 3>& row = found.emplace_back();
    std::getline(fields, number, '\t');
    for (std::string& field : row) std::getline(fields, field, '\t');
  }
  return found;
}

// Asked for the test samples, predict_lra must say what eval_lra has written.
void check_agrees(const Bench& bench, const Args& inputs) {
  Args args = {bench.run("run"), "--json"};
  args.insert(args.end(), inputs.begin(), inputs.end());
  const Finished finished = predict(args);
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  const nlohmann::json found = nlohmann::json::parse(finished.out).at("answers");
  const auto expected = scored(bench);
  REQUIRE_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK_EQ(found[i].at("classes")[0].at("name"), expected[i][1]);
    CHECK_EQ(found[i].at("classes")[0].at("probability").get<double>(),
             doctest::Approx(std::stod(expected[i][2])).epsilon(1e-5));
    if (found[i].contains("value")) CHECK_EQ(found[i].at("value"), expected[i][0]);
  }
}

void train_run(const Bench& bench, Args more) {
  more.insert(more.end(), {"--steps", "12", "--evaluate-every", "6"});
  const Finished finished = train(bench.args("run", more));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
}

EncodedInput encoded(const std::string& task, const std::string& bytes) {
  return input_kind(task).encode({.task = task, .folder = {}}, {"it", bytes});
}

void check_encoding_refused(const std::string& task, const std::string& bytes, const std::string& text) {
  std::string said;
  try {
    encoded(task, bytes);
  } catch (const FormatError& error) {
    said = error.what();
  }
  CAPTURE(said);
  CHECK_EQ(said.substr(0, 2), "it");
  CHECK_NE(said.find(text), std::string::npos);
}

std::string big_endian(std::uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift & 255);
  return bytes;
}

std::string chunk(const std::string& body) {  // kind and content
  std::uint32_t crc = ~0u;
  for (const char c : body) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return big_endian(static_cast<std::uint32_t>(body.size() - 4)) + body + big_endian(~crc);
}

// A PNG file of 32 x 32 pixels in colours: `rgb` has three bytes each. Not compressed.
std::string colour_png(const std::string& rgb) {
  std::string rows;
  for (std::size_t y = 0; y < 32; ++y) rows += '\0' + rgb.substr(y * 96, 96);
  std::uint32_t a = 1, b = 0;
  for (const char c : rows) {
    a = (a + static_cast<std::uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  const auto size = static_cast<std::uint16_t>(rows.size()), rest = static_cast<std::uint16_t>(~size);
  std::string stored = "IDAT\x78\x01\x01";
  for (const std::uint16_t word : {size, rest}) {
    stored += static_cast<char>(word & 255);
    stored += static_cast<char>(word >> 8);
  }
  stored += rows + big_endian(b << 16 | a);
  const std::string header = "IHDR" + big_endian(32) + big_endian(32) + std::string("\x08\x02\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + chunk(header) + chunk(stored) + chunk("IEND");
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("predict_lra: listops, the prediction of eval_lra for each test sample, and the value beside it") {
  const Bench bench;
  train_run(bench, {});
  Args expressions;
  std::istringstream rows(read_text(fs::path(bench.data) / "basic_test.tsv"));
  std::string row;
  std::getline(rows, row);
  while (std::getline(rows, row)) expressions.push_back(row.substr(0, row.find('\t')));
  check_agrees(bench, expressions);

  const Finished printed = predict({bench.run("run"), "[MAX 2 9 [MIN 4 7]]", "--top", "3"});
  CAPTURE(printed.out);
  CHECK_EQ(printed.status, 0);
  CHECK_NE(printed.out.find("listops, checkpoint best, step "), std::string::npos);
  CHECK_NE(printed.out.find("\n\"[MAX 2 9 [MIN 4 7]]\"\n  "), std::string::npos);
  CHECK_NE(printed.out.find("\n  its value is 9: "), std::string::npos);
  CHECK_EQ(std::count(printed.out.begin(), printed.out.end(), '\n'), 7);
}

TEST_CASE("predict_lra: probabilities are the softmax of the model's logits") {
  const Bench bench;
  train_run(bench, {});
  const std::string run = bench.run("run");
  const Finished finished = predict({run, "[SM 1 2 ]", "--json", "--top", "10"});
  REQUIRE_EQ(finished.status, 0);
  const nlohmann::json classes = nlohmann::json::parse(finished.out).at("answers")[0].at("classes");

  SavedModelOptions saved;
  saved.run = run;
  const TrainOptions options = open_saved_model(saved);
  Learner learner(options, {.vocabulary = kListopsVocabulary, .classes = 10});
  load_saved_model(saved, learner);
  Sequences set;
  set.append(std::vector<Token>{kListopsSumMod, 2, 3, kListopsClose}, 3);
  const Tensor logits = learner.predict(make_batch(set, {0}, options.batches)).logits;
  double sum = 0;
  for (const float logit : logits.span<float>()) sum += std::exp(static_cast<double>(logit));
  REQUIRE_EQ(classes.size(), 10);
  for (std::size_t i = 0; i < 10; ++i) {
    const auto digit = static_cast<std::size_t>(std::stoi(classes[i].at("name").get<std::string>()));
    const double expected = std::exp(static_cast<double>(logits.span<float>()[digit])) / sum;
    CHECK_EQ(classes[i].at("probability").get<double>(), doctest::Approx(expected).epsilon(1e-12));
    if (i > 0) CHECK_GE(classes[i - 1].at("probability"), classes[i].at("probability"));
  }
}

TEST_CASE("predict_lra: texts, of files and as arguments") {
  const Bench bench;
  const fs::path data = bench.run("texts");
  write_imdb_tsv(data / "imdb_train.tsv", made_reviews(20, 4, 1, "training"));
  const std::vector<Review> test = made_reviews(3, 4, 100, "t\xC3\xA4st \xFF");
  write_imdb_tsv(data / "imdb_test.tsv", test);
  train_run(bench, {"--task", "text", "--data", data.string(), "--cut", "12"});
  Args files;
  for (const Review& review : test) {
    const std::string path = bench.run(cat("review-", files.size()));
    make_file(path, review.text + "\n");
    files.insert(files.end(), {"--file", path});
  }
  check_agrees(bench, files);
  const Finished cut = predict({bench.run("run"), "longer than that"});
  CAPTURE(cut.out);
  CHECK_NE(cut.out.find("note: only the first 12 of its 16 bytes are read, as in training"), std::string::npos);
  CHECK_NE(cut.out.find("negative   0."), std::string::npos);
  const std::string path = bench.run("review-0");
  CHECK_NE(predict({bench.run("run"), path}).err.find("note: " + path + " is taken for the input itself; --file "),
           std::string::npos);
  for (const char* text : {"[a,b]", "[]", "{}", "\1[x", "--", "--top"}) {
    const Finished odd = predict({bench.run("run"), "--json", "--", text});
    CAPTURE(odd.err);
    REQUIRE_EQ(odd.status, 0);
    CHECK_EQ(nlohmann::json::parse(odd.out).at("answers")[0].at("tokens")[0], std::string(text).size());
  }
  check_refused({bench.run("run"), ""}, 1, "\"\": the text is empty");
}

TEST_CASE("predict_lra: own texts, whose class names the run has kept") {
  const Bench bench;
  const fs::path data = bench.run("own");
  make_file(data / "train.tsv", "ham\tdear friend\nspam\tbuy now\nham\tyours\nspam\tcheap!\n");
  make_file(data / "val.tsv", "spam\tnow\nham\twell\n");
  make_file(data / "test.tsv", "ham\tthen\nspam\tbuy cheap\n");
  train_run(bench, {"--task", "custom", "--data", data.string()});
  check_agrees(bench, {"then", "buy cheap"});
  fs::remove_all(data);  // which is not needed any more
  CHECK_EQ(predict({bench.run("run"), "then"}).status, 0);
}

TEST_CASE("predict_lra: pairs") {
  const Bench bench;
  const fs::path data = bench.run("pairs");
  const std::string lines = "1.0\t1\t2\tone text\tanother\n0.0\t3\t4\tfirst\tsecond\n";
  make_file(data / "new_aan_pairs.train.tsv", lines + "1.0\t1\t2\ta\tb\n");
  make_file(data / "new_aan_pairs.eval.tsv", "0.0\t1\t2\ta\tc\n1.0\t1\t2\tx\ty\n");
  make_file(data / "new_aan_pairs.test.tsv", lines);
  train_run(bench, {"--task", "retrieval", "--data", data.string()});
  check_agrees(bench, {"one text", "another", "first", "second"});
  CHECK_NE(predict({bench.run("run"), "one", "two"}).out.find("\n\"one\" and \"two\"\n"), std::string::npos);
  check_refused({bench.run("run"), "a", "b", "c"}, 2,
                "--task retrieval is about pairs: expected an even number of inputs, not 3");
}

TEST_CASE("predict_lra: images of pathfinder") {
  const Bench bench;
  const fs::path level = fs::path(bench.run("images")) / pathfinder_folder(32, PathfinderLevel::easy);
  const PathfinderRules rules = pathfinder_rules(PathfinderLevel::easy);
  std::string packed;
  std::vector<std::string> paths;
  fs::create_directories(level);
  for (std::uint64_t i = 0; i < 20; ++i) {
    const PathfinderImage image = draw_pathfinder(1, i, rules);
    packed += static_cast<char>(image.label);
    packed.append(image.pixels.begin(), image.pixels.end());
    paths.push_back(bench.run(cat(i, ".png")));
    write_png(paths.back(), 32, 32, image.pixels);
  }
  make_file(level / kPathfinderPacked, packed);
  train_run(bench, {"--task", "pathfinder", "--difficulty", "easy", "--data", bench.run("images"), "--max-length",
                    "1024", "--attention", "local", "--batch-size", "4"});
  const Sequences test =
      load_task({.task = "pathfinder", .folder = bench.run("images"), .difficulty = PathfinderLevel::easy}).test;
  Args files;
  for (Index i = 0; i < test.size(); ++i)
    for (const std::string& path : paths)
      if (const GreyImage image = read_png(path); std::ranges::equal(image.pixels, test.bytes(i)))
        files.insert(files.end(), {"--file", path});
  check_agrees(bench, files);
  check_refused({bench.run("run"), paths[0]}, 2, cat("'", paths[0], "': --task pathfinder takes files: --file "));
  check_refused({bench.run("run")}, 2, "expected a grey PNG image of 32 x 32 pixels, by --file");
  check_refused({bench.run("run"), "--file", bench.run("nowhere.png")}, 1, "nowhere.png");
}

TEST_CASE("predict_lra: images, each as its record is scored among others") {
  const ScratchFolder scratch;
  std::string records;
  std::vector<RawInput> inputs;
  for (int i = 0; i < 5; ++i) {
    std::string pixels;
    for (int p = 0; p < kCifarPixels; ++p) pixels += static_cast<char>(p * (i + 1) % 251);
    records += static_cast<char>(i) + pixels;
    inputs.push_back({cat("image ", i), pixels});
  }
  make_file(scratch / "batch.gray.bin", records);
  const Sequences set = read_cifar(scratch / "batch.gray.bin", CifarForm::grey, GreyRule::tensorflow, 5).images;
  TrainOptions options;
  options.data.task = "image";
  options.model.encoder.max_length = kCifarPixels;
  options.model.encoder.width = options.model.encoder.hidden = 8;
  options.model.encoder.head_hidden = {8};
  options.model.encoder.attention.heads = 2;
  options.batches.max_length = kCifarPixels;
  options.batches.size = 3;
  const RunStart start = {{.vocabulary = 256, .classes = 10}, {std::begin(kCifarNames), std::end(kCifarNames)}};
  Learner learner(options, start.shape);
  const auto expected = evaluate(learner, set, options.batches, [](const Tally&) { return true; });
  const std::vector<Question> asked = questions(inputs, options.data, 1, kCifarPixels);
  REQUIRE_EQ(asked.size(), 5);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const Answer best = answers(learner, start, asked[i], options.batches)[0];
    CHECK_EQ(best.name, start.class_names[static_cast<std::size_t>(expected->predicted[i])]);
    CHECK_EQ(best.probability, doctest::Approx(expected->probability[i]).epsilon(1e-5));
  }
}

TEST_CASE("raw input: an image is what the reader of CIFAR-10 makes of its record") {
  const ScratchFolder scratch;
  std::string planes, interleaved;
  for (int c = 0; c < 3; ++c)
    for (int p = 0; p < kCifarPixels; ++p) planes += static_cast<char>(7 * p + 50 * c);
  for (std::size_t p = 0; p < kCifarPixels; ++p)
    for (std::size_t c = 0; c < 3; ++c) interleaved += planes[c * kCifarPixels + p];
  make_file(scratch / "record.bin", std::string(1, '\3') + planes);
  const std::string image = colour_png(interleaved);
  for (const GreyRule rule : {GreyRule::tensorflow, GreyRule::pil}) {
    const Sequences expected = read_cifar(scratch / "record.bin", CifarForm::colour, rule, 1).images;
    const EncodedInput found = input_kind("image").encode({.task = "image", .folder = {}, .grey = rule}, {"it", image});
    CHECK(std::ranges::equal(found.tokens, expected.bytes(0)));
  }
  const std::string grey = planes.substr(0, kCifarPixels);
  const std::vector<std::uint8_t> pixels(grey.begin(), grey.end());
  write_png(scratch / "grey.png", 32, 32, pixels);
  CHECK(encoded("image", grey).tokens == pixels);
  CHECK(encoded("image", read_text(scratch / "grey.png")).tokens == pixels);
  check_encoding_refused("pathfinder", image, "the image has 8 bits of red, green, blue, expected 8 bits of grey");
  write_png(scratch / "small.png", 4, 2, std::vector<std::uint8_t>(8));
  for (const char* task : {"image", "pathfinder"})
    check_encoding_refused(task, read_text(scratch / "small.png"), "the image has 4 x 2 pixels, expected 32 x 32");
  check_encoding_refused("path-x", read_text(scratch / "grey.png"), "expected 128 x 128");
  check_encoding_refused("image", grey + "x",
                         "1025 bytes that are no PNG image, expected one of 32 x 32 pixels, or 1024");
  check_encoding_refused("image", "", "the file is empty");
  check_encoding_refused("pathfinder", "", "the file is empty");
}

TEST_CASE("raw input: expressions and texts") {
  for (const std::string& task : task_names()) CHECK_FALSE(input_kind(task).about.empty());
  const EncodedInput plain = encoded("listops", "[MAX 2 9 [MIN 4 7 ] 0 ]");
  CHECK_EQ(plain.value, "9");
  CHECK(encoded("listops", "( ( ( ( [MAX 2 ) 9 ) ( ( ( [MIN 4 ) 7 ) ] ) ) 0 ) ] )").tokens == plain.tokens);
  CHECK(encoded("listops", "[MAX 2\n9\t[MIN 4 (7)] 0]\r\n").tokens == plain.tokens);
  const EncodedInput broken =
      input_kind("listops").encode({.task = "listops", .folder = {}, .drop_brackets = true}, {"it", "[MAX 2 9 ]"});
  CHECK_EQ(broken.tokens, std::vector<std::uint8_t>{kListopsMax, 3, 10});
  CHECK_EQ(broken.value, "9");
  check_encoding_refused("listops", "[MAX 2 foo ]", "it: token 3: \"foo\" is no token of listops");
  check_encoding_refused("listops", "[MAX 2", "it: token 1: [MAX is never closed");
  check_encoding_refused("listops", " ", "it: token 1: there is no expression");

  const EncodedInput text = encoded("text", "\xFF\n\r\n");
  CHECK_EQ(text.first_id, 1);
  CHECK_EQ(text.tokens, std::vector<std::uint8_t>{0xFF, '\n'});
  CHECK_EQ(encoded("retrieval", std::string(20'000, 'x')).tokens.size(), 4000);
  check_encoding_refused("text", "\n", "it: the text is empty");
}

TEST_CASE("predict_lra: the standard input, once; what is too long") {
  std::istringstream in("from there");
  const std::vector<RawInput> inputs = read_raw_inputs({"first", "-"}, {}, in);
  REQUIRE_EQ(inputs.size(), 2);
  CHECK_EQ(inputs[0].name, "\"first\"");
  CHECK_EQ(inputs[1].name, "standard input");
  CHECK_EQ(inputs[1].bytes, "from there");
  CHECK_THROWS_WITH_AS(read_raw_inputs({"-"}, {"-"}, in), "-, the standard input, can be given once only", OptionError);
  CHECK_THROWS_WITH_AS(questions({{"it", "[MAX 2 9 ]"}}, {.task = "listops", .folder = {}}, 1, 3),
                       "it: 4 tokens, but the model takes at most 3, its --max-length", FormatError);
}

TEST_CASE("predict_lra: a run of another machine, told to compute on the CPU") {
  const Bench bench;
  train_run(bench, {"--attention", "nystrom", "--landmarks", "2", "--pinv-start", "original"});
  const fs::path config = fs::path(bench.run("run")) / "config.toml";
  std::string text = read_text(config);
  const std::string before = predict({bench.run("run"), "[MAX 2 9 ]"}).out;
  for (const auto& [here, there] :
       std::vector<std::pair<std::string, std::string>>{{"device=\"cpu\"", "device=\"cuda:99\""},
                                                        {"precision=\"fp32\"", "precision=\"tf32\""},
                                                        {"cuda-graph=false", "cuda-graph=true"}}) {
    REQUIRE_NE(text.find(here), std::string::npos);
    text.replace(text.find(here), here.size(), there);
  }
  make_file(config, text);
  check_refused({bench.run("run"), "[MAX 2 9 ]"}, 1,
                "; that is where the run was trained, --device cpu uses its model");
  const Finished here = predict({bench.run("run"), "[MAX 2 9 ]", "--device", "cpu"});
  CAPTURE(here.err);
  CHECK_EQ(here.out, before);
  CHECK_NE(here.err.find("note: with --pinv-start original the inputs of a batch share"), std::string::npos);
  CHECK_EQ(run_program("eval_lra", {bench.run("run"), "--device", "cpu"}).status, 0);
}

TEST_CASE("predict_lra: a run without class names, and wrong options") {
  const Bench bench;
  train_run(bench, {});
  const fs::path run = bench.run("run");
  check_refused({run.string()}, 2, "expected an expression such as ");
  check_refused({run.string(), "7", "--top", "0"}, 2, "--top: 0, expected a whole number");
  check_refused({run.string(), "[MAX 2 foo ]"}, 1, "\"[MAX 2 foo ]\": token 3: \"foo\" is no token of listops");
  check_refused({bench.run("nowhere"), "7"}, 1, "there is no such folder");
  const std::string metrics = read_text(run / "metrics.jsonl");
  nlohmann::json start = nlohmann::json::parse(metrics.substr(0, metrics.find('\n')));
  start.erase("class_names");
  make_file(run / "metrics.jsonl", start.dump() + metrics.substr(metrics.find('\n')));
  check_refused({run.string(), "7"}, 1, "line 1: the start of the run has no class_names");
  CHECK_EQ(run_program("eval_lra", {run.string()}).status, 0);  // which has the data
}

TEST_SUITE_END();
