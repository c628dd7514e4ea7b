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
  bool quiet = false;
  std::filesystem::path preset = std::filesystem::temp_directory_path() / cat("subquad_options_", getpid(), ".toml");

  explicit Program(const std::string& toml = "") {
    app.add_option("--steps", steps)->check(whole(1, 100));
    app.add_option("--data", data)->required();
    app.add_flag("--quiet", quiet);
    app.set_config("--preset");
    std::ofstream(preset) << toml;
  }
  ~Program() { std::filesystem::remove(preset); }

  bool parse(std::vector<std::string> args) { return parse_options(app, args); }
};

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("nearest_names") {
  using Names = std::vector<std::string>;
  const Names names = {"steps", "batch-size", "learning-rate", "seed"};
  CHECK_EQ(nearest_names("stps", names), Names{"steps"});
  CHECK_EQ(nearest_names("batch_size", names), Names{"batch-size"});
  CHECK_EQ(nearest_names("sed", names), Names{"seed"});
  CHECK_EQ(nearest_names("xylophone", names), Names());
  CHECK_EQ(nearest_names("", names), Names());
  CHECK_EQ(nearest_names("steps", {}), Names());
  CHECK_EQ(nearest_names("beta3", {"beta1", "seed", "beta2"}), Names{"beta1", "beta2"});
  CHECK_EQ(nearest_hint("beta3", {"beta1", "beta2"}, "--"), "; the nearest is --beta1 or --beta2");
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
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--stps", "3"}), "unknown option --stps; the nearest is --steps",
                       OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--stps=3"}), "unknown option --stps; the nearest is --steps", OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--xylophone"}), "unknown option --xylophone", OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "stray"}), "unexpected argument 'stray'", OptionError);
}

TEST_CASE("options: wrong values and missing options") {
  Program program;
  CHECK_THROWS_WITH_AS(program.parse({}), "--data is required", OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--steps", "0"}),
                       "--steps: 0, expected a whole number between 1 and 100", OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--steps", "3.5"}),
                       "--steps: 3.5, expected a whole number between 1 and 100", OptionError);
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--steps", "many"}),
                       "--steps: many, expected a whole number between 1 and 100", OptionError);
}

TEST_CASE("options: whole numbers neither wrap nor saturate, and are plain") {
  for (const char* text : {"-1", "99999999999999999999", "18446744073709551617", "101", "010", "0x10", "+5", "1e1"}) {
    CAPTURE(text);
    Program program;
    CHECK_THROWS_WITH_AS(program.parse({"--data", "d", cat("--steps=", text)}),
                         cat("--steps: ", text, ", expected a whole number between 1 and 100").c_str(), OptionError);
  }
}

TEST_CASE("options: several whole numbers stand in one word") {
  const auto parsed = [](const std::vector<std::string>& args) {
    std::vector<Index> widths = {1, 2};
    CLI::App app("", "program");
    add_wholes(app, "--widths", widths, 1, 100, "");
    CHECK_EQ(app.get_option("--widths")->get_default_str(), "1,2");
    parse_options(app, args);
    return widths;
  };
  CHECK_EQ(parsed({}), std::vector<Index>{1, 2});
  CHECK_EQ(parsed({"--widths", "7"}), std::vector<Index>{7});
  CHECK_EQ(parsed({"--widths=64,100,3"}), std::vector<Index>{64, 100, 3});
  for (const char* text : {"", ",", "5,", ",5", "5,,5", "5, 6", "[5,6]", "5;6", "0", "5,101"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parsed({cat("--widths=", text)}), OptionError);
  }
  CHECK_THROWS_WITH_AS(parsed({"--widths", "5,101"}), "--widths: 101, expected a whole number between 1 and 100",
                       OptionError);
}

TEST_CASE("options: given twice") {
  Program program;
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--steps", "3", "--steps", "4"}), "--steps: given 2 times",
                       OptionError);
}

TEST_CASE("options: between") {
  double rate = 0;
  CLI::App app("", "program");
  app.add_option("--rate", rate)->check(between(0, 1));
  CHECK(parse_options(app, {"--rate", "0.25"}));
  CHECK_EQ(rate, 0.25);
  CHECK_THROWS_WITH_AS(parse_options(app, {"--rate", "2"}), "--rate: 2, expected a number between 0 and 1",
                       OptionError);
}

TEST_CASE("options: a wrong preset key is an error that names file and nearest key") {
  Program program("step = 7\n");
  CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--preset", program.preset.string()}),
                       cat(program.preset.string(), ": unknown key 'step'; the nearest is steps").c_str(), OptionError);
  Program missing;
  CHECK_THROWS_WITH_AS(missing.parse({"--data", "d", "--preset", "/nowhere.toml"}),
                       "/nowhere.toml was not readable (missing?)", OptionError);
}

TEST_CASE("options: what is wrong in a preset is said with file and key") {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"[train]\nsteps = 7\n", "[train]: sections are not used; keys stand alone"},
      {"train.steps = 7\n", "[train]: sections are not used; keys stand alone"},
      {"steps = true\n", "steps: true, expected a whole number between 1 and 100"},
      {"steps = 0\n", "steps: 0, expected a whole number between 1 and 100"},
      {"steps = [1, 2]\n", "steps: 2 values, expected one"},
      {"quiet = 3\n", "quiet: 3, expected true or false"},
  };
  for (const auto& [toml, text] : cases) {
    CAPTURE(toml);
    Program program(toml);
    CHECK_THROWS_WITH_AS(program.parse({"--data", "d", "--preset", program.preset.string()}),
                         cat(program.preset.string(), ": ", text).c_str(), OptionError);
  }
}

TEST_SUITE_END();
