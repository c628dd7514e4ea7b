// Draws the pictures of nn/attention's pages; `draw_attention --help` lists what it can be told.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/pictures/pictures.h"

namespace subquad::pictures {

namespace {

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const Picture& picture : all_pictures()) all.emplace_back(picture.name);
  return all;
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  if (!(out << text).flush()) throw Error(cat("draw_attention: ", path.string(), " cannot be written"));
  std::cout << path.string() << '\n';
}

int draw_attention(const std::vector<std::string>& args) {
  std::string folder = "nn/attention";
  std::vector<std::string> only;
  CLI::App app("Draws each attention from what the library computes for 24 tokens, as SVG.", "draw_attention");
  app.option_defaults()->always_capture_default();
  app.add_option("--out", folder, "Folder that the pictures are written to")->type_name("DIR");
  app.add_option("--only", only, "These pictures alone")
      ->type_name("NAME")
      ->default_str("")
      ->check(lra::available(names()));
  app.footer("Exit status: 0 done; 1 error; 2 wrong option.");
  if (!lra::parse_options(app, args)) return 0;
  std::filesystem::create_directories(folder);
  for (const Picture& picture : all_pictures()) {
    const bool asked = std::find(only.begin(), only.end(), picture.name) != only.end();
    if (only.empty() || asked) write(std::filesystem::path(folder) / cat(picture.name, ".svg"), picture.draw());
  }
  return 0;
}

}  // namespace

}  // namespace subquad::pictures

int main(int argc, char** argv) {
  return subquad::lra::run_program("draw_attention", argc, argv, subquad::pictures::draw_attention);
}
