// The presets that come with train_lra: what each file says is what it does.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/parameter_rule.h"
#include "subquad/examples/lra/train_options.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::TemporaryFolder;

namespace fs = std::filesystem;

namespace {

using Complaints = std::vector<std::string>;

const std::vector<std::string> kTasks = {"listops", "text", "retrieval", "image", "pathfinder", "path-x", "imdb-pairs"};
const std::vector<std::string> kAttentions = {"softmax", "nystrom", "fsat", "paramixer", "combiner"};

fs::path presets() {
  return cat(SUBQUAD_SOURCE_DIR, "/examples/lra/presets");
}

TaskShape shape_of(const std::string& task) {
  if (task == "listops") return {.vocabulary = 16, .classes = 10};
  if (task == "image") return {.vocabulary = 256, .classes = 10};
  if (task == "pathfinder" || task == "path-x") return {.vocabulary = 256, .classes = 2};
  return {.vocabulary = 257, .classes = 2, .parts = task == "text" ? 1 : 2};
}

struct Preset {
  std::string head;  // the comment before the first key
  std::map<std::string, std::string> values;
};

Preset read_preset(const fs::path& path) {
  Preset preset;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t equals = line.find(" = ");
    if (line.starts_with("#")) {
      if (preset.values.empty()) preset.head += line + "\n";
    } else if (equals != std::string::npos) {
      preset.values[line.substr(0, equals)] = line.substr(equals + 3);
    }
  }
  return preset;
}

// Whether one of the parts that begin with "Differs" names the key as a word of its own.
bool says_differs(const std::string& head, const std::string& key) {
  const std::size_t start = head.find("# Differs");
  if (start == std::string::npos) return false;
  const auto of_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-'; };
  for (std::size_t at = head.find(key, start); at != std::string::npos; at = head.find(key, at + 1)) {
    const std::size_t end = at + key.size();
    if (!of_word(head[at - 1]) && (end == head.size() || !of_word(head[end]))) return true;
  }
  return false;
}

void check_model(const TrainOptions& options, const std::string& head, Complaints& wrong) {
  const TaskShape shape = shape_of(options.data.task);
  const auto model = make_model(nn::Place(1, kFloat32, kCpu), options.model, shape);
  const ParameterRule rule = parameter_rule(model->parameter_count(), options.model, options.data.task, shape);
  const bool said = head.find("Beyond LRA's 10 % rule") != std::string::npos;
  if (rule.holds() == said) wrong.push_back(cat("head and count differ on the 10 % rule: ", rule_text(rule)));
}

// What is wrong with ROOT/<task>/<attention>[-variant].toml; nothing when it is as it should be.
Complaints complaints(const fs::path& path) {
  const std::string task = path.parent_path().filename().string(), name = path.stem().string();
  const std::size_t dash = std::min(name.find('-'), name.size());
  const std::string attention = name.substr(0, dash), variant = name.substr(dash);
  const Preset preset = read_preset(path);
  Complaints wrong;
  TrainOptions options;
  try {
    parse_train_options({"--preset", path.string(), "--data", "data", "--out", "run"}, options);
    if (options.data.task != task) wrong.push_back("task is " + options.data.task);
    if (options.model.encoder.attention.kind != attention)
      wrong.push_back("attention is " + options.model.encoder.attention.kind);
    check_model(options, preset.head, wrong);
  } catch (const Error& error) {
    wrong.push_back(error.what());
  }
  if (preset.head.find("# Source: ") == std::string::npos) wrong.push_back("no source");
  const std::string command = cat("train_lra --preset examples/lra/presets/", task, "/", name, ".toml --data ");
  if (preset.head.find(command) == std::string::npos) wrong.push_back("no command");
  const fs::path sibling = path.parent_path() / cat("softmax", variant, ".toml");
  if (!fs::exists(sibling)) return wrong;
  for (const auto& [key, value] : read_preset(sibling).values) {
    const auto found = preset.values.find(key);
    if (key == "task" || key == "attention" || found == preset.values.end() || found->second == value) continue;
    if (!says_differs(preset.head, key))
      wrong.push_back(cat(key, " is ", found->second, ", that of ", sibling.filename().string(), " ", value));
  }
  return wrong;
}

void replace(const fs::path& path, const std::string& old_text, const std::string& new_text) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  std::string all = text.str();
  const std::size_t at = all.find(old_text);
  REQUIRE_NE(at, std::string::npos);
  std::ofstream(path) << all.replace(at, old_text.size(), new_text);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("presets: every task has each attention") {
  for (const std::string& task : kTasks)
    for (const std::string& attention : kAttentions) {
      const fs::path path = presets() / task / (attention + ".toml");
      CAPTURE(path.string());
      CHECK(fs::exists(path));
    }
}

TEST_CASE("presets: each does what it says") {
  Index count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(presets())) {
    if (entry.is_directory()) continue;
    const std::string path = entry.path().string();
    CAPTURE(path);
    const Complaints wrong = complaints(entry.path());
    CHECK_MESSAGE(wrong.empty(), wrong.front());
    ++count;
  }
  CHECK_GE(count, 46);
}

TEST_CASE("presets: what is wrong with one is found") {
  const auto found = [](const std::string& old_text, const std::string& new_text) {
    const TemporaryFolder folder;
    fs::copy(presets() / "text", folder / "text");
    const fs::path path = folder / "text" / "nystrom.toml";
    CHECK_EQ(complaints(path), Complaints());
    replace(path, old_text, new_text);
    const Complaints wrong = complaints(path);
    REQUIRE_EQ(wrong.size(), 1);
    return wrong[0];
  };
  CHECK_NE(found("landmarks = 64", "landmark = 64").find("unknown key 'landmark'"), std::string::npos);
  CHECK_EQ(found("task = \"text\"", "task = \"image\""), "task is image");
  CHECK_EQ(found("# Source: ", "# From: "), "no source");
  CHECK_EQ(found("presets/text/nystrom.toml", "presets/nystrom.toml"), "no command");
  CHECK_EQ(found("steps = 20000", "steps = 2000"), "steps is 2000, that of softmax.toml 20000");
  CHECK_NE(found("# Source: ", "# Beyond LRA's 10 % rule. # Source: ").find("head and count differ"),
           std::string::npos);
}

TEST_CASE("parameter rule: counts by hand") {
  // Tokens, positions, two layers of four projections, feed-forward and two norms, the last norm, the head.
  const Index layers = 2 * (4 * (64 * 64 + 64) + (64 * 128 + 128) + (128 * 64 + 64) + 4 * 64) + 2 * 64;
  const auto base = [&](Index tokens, Index positions, Index features, Index classes) {
    return 64 * (tokens + positions) + layers + (features * 128 + 128) + (128 * classes + classes);
  };
  ModelOptions options;
  options.encoder.max_length = 2048;
  CHECK_EQ(parameter_rule(0, options, "listops", shape_of("listops")).base, base(16, 2048, 64, 10));
  CHECK_EQ(base(16, 2048, 64, 10), 208778);
  options.encoder.max_length = 4096;
  CHECK_EQ(parameter_rule(0, options, "retrieval", shape_of("retrieval")).base, base(257, 4096, 4 * 64, 2));
  options.encoder.attention.kind = "paramixer";  // the base stays what it is
  options.encoder.width = 8;
  CHECK_EQ(parameter_rule(0, options, "text", shape_of("text")).base, base(257, 4096, 64, 2));
}

TEST_CASE("parameter rule: 10 % and no more") {
  CHECK(ParameterRule{.parameters = 1100, .base = 1000, .published = {}}.holds());
  CHECK_FALSE(ParameterRule{.parameters = 1101, .base = 1000, .published = {}}.holds());
  CHECK_EQ(rule_text({.parameters = 1000, .base = 1000, .published = {}}),
           "1000 parameters, as many as the base Transformer (softmax, 2 layers of 64 features); LRA's rule, at most "
           "10 % more, holds");
  CHECK_EQ(rule_text({.parameters = 1031, .base = 1000, .published = 248458}),
           "1031 parameters, 3.1 % more than 1000 of the base Transformer (softmax, 2 layers of 64 features); LRA's "
           "rule, at most 10 % more, holds; LRA's own base has 248458");
  CHECK_EQ(rule_text({.parameters = 1000, .base = 1000, .published = 909}),
           "1000 parameters, as many as the base Transformer (softmax, 2 layers of 64 features); LRA's rule, at most "
           "10 % more, holds; LRA's own base has 909, beside which this model is too large for its table");
  CHECK(ParameterRule{.parameters = 1000, .base = 1000, .published = 910}.holds_published());
  CHECK_EQ(parameter_rule(0, {}, "pathfinder, hard", shape_of("pathfinder")).published, 26530);
  CHECK_EQ(parameter_rule(0, {}, "pathfinder, easy", shape_of("pathfinder")).published, std::nullopt);
  CHECK_EQ(
      rule_text({.parameters = 900, .base = 1000, .published = {}}).find("900 parameters, 10.0 % fewer than 1000 of"),
      0);
  CHECK_EQ(rule_text({.parameters = 2000, .base = 1000, .published = {}}),
           "2000 parameters, 100.0 % more than 1000 of the base Transformer (softmax, 2 layers of 64 features); beyond "
           "LRA's 10 % rule: no score for its table");
}

TEST_SUITE_END();
