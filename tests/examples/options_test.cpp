#include "subquad/examples/lra/options.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

using namespace subquad;
using namespace subquad::lra;

namespace {

struct Program {  // a little program with a preset file
  CLI::App app{"", "program"};
  int steps = 5;
  std::string data;
  std::filesystem::path preset = std::filesystem::temp_directory_path() / cat("subquad_options_", getpid(), ".toml");

  explicit Program(const std::string& toml = "") {
    app.add_option("--steps", steps)->check(at_least(1));
    app.add_option("--data", data)->required();
    app.set_config("--preset");
    std::ofstream(preset) << toml;
  }
  ~Program() { std::filesystem::remove(preset); }

  bool parse(std::vector<std::string> args) { return parse_options(app, args); }
};

}  // namespace

TEST_CASE("nearest_name") {
  const std::vector<std::string> names = {"steps", "batch-size", "learning-rate", "seed"};
  CHECK_EQ(nearest_name("stps", names), "steps");
  CHECK_EQ(nearest_name("batch_size", names), "batch-size");
  CHECK_EQ(nearest_name("sed", names), "seed");
  CHECK_EQ(nearest_name("xylophone", names), "");
  CHECK_EQ(nearest_name("", names), "");
  CHECK_EQ(nearest_name("steps", {}), "");
}

TEST_CASE("options: the command line goes before the preset, the preset before the default") {
  Program by_default;
  CHECK(by_default.parse({"--data", "d"}));
  CHECK_EQ(by_default.steps, 5);
  Program by_preset("steps = 7  # of a file\n");
  CHECK(by_preset.parse({"--data", "d", "--preset", by_preset.preset.string()}));
  CHECK_EQ(by_preset.steps, 7);
  Program by_hand("steps = 7\ndata = \"from the file\"\n");
  CHECK(by_hand.parse({"--steps", "9", "--preset", by_hand.preset.string()}));
  CHECK_EQ(by_hand.steps, 9);
  CHECK_EQ(by_hand.data, "from the file");
}

TEST_CASE("options: a wrong name is an error that names the nearest right one") {
  Program program;
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--stps", "3"}),
                       "program: unknown option --stps; the nearest is --steps", OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--stps=3"}), "program: unknown option --stps; the nearest is --steps",
                       OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--xylophone"}), "program: unknown option --xylophone",
                       OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "stray"}), "program: unexpected argument 'stray'", OptionError);
}

TEST_CASE("options: wrong values and missing options") {
  Program program;
  CHECK_THROWS_WITH_AS(program.parse({}), "program: --data is required", OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--steps", "0"}),
                       "program: --steps: 0, expected a number at least 1", OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--steps", "3.5"}), "program: Could not convert: --steps = 3.5",
                       OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--steps", "many"}),
                       "program: --steps: many, expected a number at least 1", OptionError);
}

TEST_CASE("options: between") {
  double rate = 0;
  CLI::App app("", "program");
  app.add_option("--rate", rate)->check(between(0, 1));
  CHECK(parse_options(app, {"--rate", "0.25"}));
  CHECK_EQ(rate, 0.25);
  CHECK_THROWS_WITH_AS(parse_options(app, {"--rate", "2"}), "program: --rate: 2, expected a number between 0 and 1",
                       OptionError);
}

TEST_CASE("options: a wrong preset key is an error that names file and nearest key") {
  Program program("step = 7\n");
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--preset", program.preset.string()}),
                       cat(program.preset.string(), ": unknown key 'step'; the nearest is steps").c_str(), OptionError);
  Program section("[train]\nsteps = 7\n");
  CHECK_THROWS_AS(section.parse({"--data", "d", "--preset", section.preset.string()}), OptionError);
  Program missing;
  CHECK_THROWS_WITH_AS(missing.parse({"--data", "d", "--preset", "/nowhere.toml"}),
                       "program: /nowhere.toml was not readable (missing?)", OptionError);
}
