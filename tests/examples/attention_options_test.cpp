#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/options.h"

#include <doctest/doctest.h>

#include <fstream>

#include "subquad/tests/examples/scratch_folder.h"

using namespace subquad;
using namespace subquad::lra;

namespace {

// Each option of attention with a value that is not its default.
const std::vector<std::pair<std::string, std::string>> kAll = {
    {"attention", "local"},
    {"heads", "3"},
    {"head-width", "5"},
    {"attention-bias", "false"},
    {"causal", "true"},
    {"landmarks", "7"},
    {"pinv-iterations", "8"},
    {"pinv-start", "product"},
    {"detach-coefficient", "true"},
    {"conv-kernel", "9"},
    {"nystrom-mask", "lucidrains"},
    {"nystrom-segments", "per_sample"},
    {"nystrom-order", "kernels_first"},
    {"exact-when-covered", "false"},
    {"cross", "10"},
    {"fsat-hidden", "11"},
    {"lags", "12"},
    {"columns", "13"},
    {"fsat-window", "-1"},
    {"fsat-mode", "bias"},
    {"truncate", "false"},
    {"gamma", "0.5"},
    {"gamma-steps", "14"},
    {"fsat-dropout", "0.625"},
    {"protocol", "butterfly"},
    {"factors", "15"},
    {"factor-rule", "floor"},
    {"links", "16"},
    {"link-hidden", "17"},
    {"residual", "none"},
    {"paramixer-mix-padding", "true"},
    {"link-scale", "0.25"},
    {"combiner-pattern", "rowmajor"},
    {"segment", "18"},
    {"combiner-pool", "deepset_mean"},
    {"combiner-summary", "wsum_proj"},
    {"own-span", "true"},
    {"combiner-dropout", "0.75"},
    {"local-window", "19"},
};

nn::AttentionConfig parse(const std::vector<std::string>& args) {
  CLI::App app("", "program");
  app.set_config("--preset");
  nn::AttentionConfig config;
  add_attention_options(app, config);
  CHECK(app.get_options().size() == kAll.size() + 2);  // --help, --preset
  REQUIRE(parse_options(app, args));
  return config;
}

// A member that is new to a config does not compile here until it is listed, and is no option until it stands in kAll.
void check_all(const nn::AttentionConfig& config) {
  const auto& [kind, width, heads, head_width, max_length, bias, causal, dropout, nystrom, fsat, paramixer, combiner,
               local] = config;
  CHECK(width == 0);  // this one, max_length and dropout are the model's business
  CHECK(max_length == 0);
  CHECK(dropout == 0);
  CHECK(kind == "local");
  CHECK(heads == 3);
  CHECK(head_width == 5);
  CHECK_FALSE(bias);
  CHECK(causal);
  {
    const auto& [landmarks, iterations, start, detach, conv, mask, segments, order, exact_when_covered] = nystrom;
    CHECK(landmarks == 7);
    CHECK(iterations == 8);
    CHECK(start == nn::PinvStart::product);
    CHECK(detach);
    CHECK(conv == 9);
    CHECK(mask == nn::NystromMask::lucidrains);
    CHECK(segments == nn::NystromSegments::per_sample);
    CHECK(order == nn::NystromOrder::kernels_first);
    CHECK_FALSE(exact_when_covered);
  }
  {
    const auto& [cross, hidden, lags, columns, window, mode, truncate, gamma, gamma_steps, dropped] = fsat;
    CHECK(cross == 10);
    CHECK(hidden == 11);
    CHECK(lags == 12);
    CHECK(columns == 13);
    CHECK(window == -1);
    CHECK(mode == nn::FsatMode::bias);
    CHECK_FALSE(truncate);
    CHECK(gamma == 0.5);
    CHECK(gamma_steps == 14);
    CHECK(dropped == 0.625);
  }
  {
    const auto& [protocol, factors, rule, links, hidden, residual, mix_padding, link_scale] = paramixer;
    CHECK(protocol == nn::LinkProtocol::butterfly);
    CHECK(factors == 15);
    CHECK(rule == nn::FactorRule::floor);
    CHECK(links == 16);
    CHECK(hidden == 17);
    CHECK(residual == nn::MixResidual::none);
    CHECK(mix_padding);
    CHECK(link_scale == 0.25);
  }
  {
    const auto& [pattern, segment, pool, summary, own_span, attention_dropout] = combiner;
    CHECK(pattern == nn::CombinerPattern::rowmajor);
    CHECK(segment == 18);
    CHECK(pool == nn::CombinerPool::deepset_mean);
    CHECK(summary == nn::CombinerSummary::wsum_proj);
    CHECK(own_span);
    CHECK(attention_dropout == 0.75);
  }
  const auto& [window] = local;
  CHECK(window == 19);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("attention options: every member of the config, on the command line and in a preset") {
  std::vector<std::string> args;
  for (const auto& [name, value] : kAll) args.push_back(cat("--", name, "=", value));
  check_all(parse(args));

  const subquad::test::ScratchFolder scratch;
  const std::string preset = (scratch / "preset.toml").string();
  {
    std::ofstream file(preset);
    for (const auto& [name, value] : kAll) {
      const bool plain = value == "true" || value == "false" || value.find_first_not_of("-.0123456789") == value.npos;
      file << name << " = " << (plain ? value : '"' + value + '"') << '\n';
    }
  }
  check_all(parse({"--preset", preset}));
}

TEST_SUITE_END();
