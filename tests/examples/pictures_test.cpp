// The pictures of nn/attention's pages: what is committed is what the library computes.
#include "subquad/examples/pictures/pictures.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "subquad/core/error.h"
#include "subquad/examples/pictures/sequence.h"
#include "subquad/examples/pictures/svg.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::pictures;

namespace {

const std::filesystem::path kFolder = std::filesystem::path(SUBQUAD_SOURCE_DIR) / "nn" / "attention";

std::string committed(std::string_view name) {
  return test::read_text(kFolder / cat(name, ".svg"));
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("pictures: those in nn/attention are what draw_attention draws now, on every SIMD target") {
  std::set<std::string> names;
  for (const Picture& picture : all_pictures()) {
    CAPTURE(picture.name);
    names.insert(cat(picture.name, ".svg"));
    const std::string want = committed(picture.name);
    test::for_each_simd_target([&] { CHECK_MESSAGE(picture.draw() == want, "run build/release/bin/draw_attention"); });
  }
  for (const auto& entry : std::filesystem::directory_iterator(kFolder))
    if (entry.path().extension() == ".svg") CHECK(names.contains(entry.path().filename().string()));
}

TEST_CASE("pictures: each stands in a page of nn/attention") {
  std::string pages;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder))
    if (entry.path().extension() == ".md") pages += test::read_text(entry.path());
  for (const Picture& picture : all_pictures()) {
    CAPTURE(picture.name);
    CHECK(pages.find(cat("](", picture.name, ".svg)")) != std::string::npos);
  }
}

TEST_CASE("pictures: all attentions see the same q and k") {
  const QueriesAndKeys want = queries_and_keys();
  CHECK(test::same_bits(want.q.contiguous(), want.k.contiguous()));
  for (const char* kind : {"nystrom", "fsat", "combiner", "local"}) {
    const nn::Heads heads = small_attention({.kind = kind})->project(input());
    CHECK(test::same_bits(heads.q.value().contiguous(), want.q.contiguous()));
    CHECK(test::same_bits(heads.v.value().contiguous(), want.v.contiguous()));
  }
}

TEST_CASE("pictures: numbers are rounded, and refused on the border between two roundings") {
  CHECK(digits(0.1251, 2) == "0.13");
  CHECK(digits(-1.04, 1) == "−1.0");
  CHECK(digits(41.7, 0) == "42");
  CHECK(steps(10.2, 0.5) == 20);
  CHECK(shade(0, 1) == 0);
  CHECK(shade(1e-9, 1) == 1);
  CHECK(shade(-1, 1) == 10);
  CHECK_THROWS_WITH_AS(digits(0.5, 0), doctest::Contains("stands between two roundings"), Error);
  CHECK_THROWS_AS(steps(0.25 + 1e-9, 0.5), Error);
}

TEST_CASE("pictures: a wrong name and a folder that cannot be made end draw_attention") {
  const auto status = [](const std::string& arguments) {
    return std::system(cat("'" SUBQUAD_BIN_DIR "/draw_attention' ", arguments, " > /dev/null 2>&1").c_str()) / 256;
  };
  CHECK_EQ(status("--only nystrm"), 2);
  CHECK_EQ(status("--out /dev/null/here"), 1);
  CHECK_EQ(status("--help"), 0);
}

TEST_SUITE_END();
