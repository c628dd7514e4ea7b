// Pathfinder and Path-X for make_data:
//
//   DIR/make_data.json                            the options
//   DIR/pathfinder32/curv_contour_length_14/...   LRA's layout, and packed.bin (tasks/pathfinder_folder.h)
//
// Blocks of 1,000 images are made one after the other. A block's metadata are written when all else of it is there, so
// a run that goes on knows which blocks it need not make again.
#include <unistd.h>

#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "subquad/core/error.h"
#include "subquad/core/file.h"
#include "subquad/core/parallel.h"
#include "subquad/examples/lra/make_data.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/tasks/pathfinder_folder.h"
#include "subquad/examples/lra/tasks/png.h"
#include "subquad/examples/lra/unfinished_folder.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

constexpr Index kBlock = 1000;

std::string description(const MakeDataOptions& options) {
  const nlohmann::ordered_json out = {{"task", options.task},
                                      {"seed", options.seed},
                                      {"count", options.count},
                                      {"difficulty", pathfinder_level_name(options.difficulty)},
                                      {"equal_contrast", options.equal_contrast}};
  return out.dump(2) + "\n";
}

PathfinderRules rules_of(const MakeDataOptions& options) {
  PathfinderRules rules =
      options.task == "path-x" ? path_x_rules(options.difficulty) : pathfinder_rules(options.difficulty);
  rules.equal_contrast = options.equal_contrast;
  return rules;
}

class PathfinderMaker {
 public:
  PathfinderMaker(const MakeDataOptions& options, const fs::path& level, ProgressLine& progress,
                  const StopRequest& stop)
      : options_(options),
        rules_(rules_of(options)),
        level_(level),
        record_(1 + rules_.side * rules_.side),
        packed_(level / kPathfinderPacked),
        progress_(progress),
        stop_(stop) {}

  void run() {
    for (Index block = 0; block * kBlock < options_.count; ++block) {
      const Index first = block * kBlock, end = std::min(first + kBlock, options_.count);
      if (!is_there(block, end)) make(block, first, end);
    }
  }

  void print_table() const {
    std::cout << std::fixed << std::setprecision(4) << "images of this run     " << made_ << "\n";
    if (made_ == 0) return;
    const auto share = [&](Index count) { return static_cast<double>(count) / static_cast<double>(made_); };
    std::cout << "connected              " << share(connected_) << "\n"
              << "distractors an image   " << share(distractors_) << "\n"
              << "redrawn                " << redrawn_ << "  (contours met, says the oracle)\n";
    if (rules_.margins.size() > 1)
      for (const double margin : rules_.margins)
        std::cout << std::setprecision(0) << "with margin " << margin << "          " << std::setprecision(4)
                  << share(std::count(margins_.begin(), margins_.end(), margin)) << "\n";
  }

 private:
  fs::path metadata(Index block) const { return level_ / "metadata" / cat(block, ".npy"); }

  bool is_there(Index block, Index end) const {
    return fs::exists(metadata(block)) &&
           fs::file_size(level_ / kPathfinderPacked) >= static_cast<std::uintmax_t>(end * record_);
  }

  void make(Index block, Index first, Index end) {
    fs::create_directories(level_ / "metadata");
    fs::create_directories(level_ / "imgs" / cat(block));
    constexpr Index kAtOnce = 125;  // between two looks at the clock
    std::string lines;
    for (Index begin = first; begin < end; begin += kAtOnce) {
      if (stop_) throw Stopped{"the same command goes on with what was made so far"};
      show(begin);
      std::vector<PathfinderImage> images(static_cast<std::size_t>(std::min(kAtOnce, end - begin)));
      parallel_for(static_cast<Index>(images.size()), 1'000'000, [&](Index i) {
        PathfinderImage& image = images[static_cast<std::size_t>(i)];
        image = draw_pathfinder(options_.seed, static_cast<std::uint64_t>(begin + i), rules_);
        write_png(level_ / "imgs" / cat(block) / cat("sample_", begin + i - first, ".png"), rules_.side, rules_.side,
                  image.pixels);
      });
      pack(begin, images);
      for (const PathfinderImage& image : images) {
        lines += pathfinder_metadata_line(block, begin - first + (&image - images.data()), image, rules_);
        count(image);
      }
    }
    AtomicFile file(metadata(block));
    file.write(lines);
    file.commit();
  }

  void pack(Index begin, const std::vector<PathfinderImage>& images) {
    std::vector<std::uint8_t> bytes;
    for (const PathfinderImage& image : images) {
      bytes.push_back(static_cast<std::uint8_t>(image.label));
      bytes.insert(bytes.end(), image.pixels.begin(), image.pixels.end());
    }
    packed_.write(begin * record_, bytes);
  }

  void count(const PathfinderImage& image) {
    ++made_;
    connected_ += image.label;
    redrawn_ += image.redrawn;
    distractors_ += static_cast<Index>(image.distractors.size());
    margins_.push_back(image.margin);
  }

  void show(Index done) {
    if (made_ == 0) start_ = std::chrono::steady_clock::now(), done_before_ = done;
    if (made_ == 0 || !progress_.due()) return;
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start_;
    const double each = spent.count() / static_cast<double>(done - done_before_);
    progress_.show(cat("drawn ", done, "/", options_.count, "   ", rate_text(1 / each), " images/s   ",
                       duration_text(each * static_cast<double>(options_.count - done)), " left"));
  }

  const MakeDataOptions& options_;
  PathfinderRules rules_;
  fs::path level_;
  Index record_;  // bytes of an image in the packed file
  OpenFile packed_;
  ProgressLine& progress_;
  const StopRequest& stop_;

  std::chrono::steady_clock::time_point start_;
  Index done_before_ = 0;
  Index made_ = 0;
  Index connected_ = 0;
  Index redrawn_ = 0;
  Index distractors_ = 0;
  std::vector<double> margins_;  // of each image
};

}  // namespace

void make_pathfinder(const MakeDataOptions& options, const StopRequest& stop) {
  ResumableFolder folder(options.out, description(options));
  ProgressLine progress(std::cerr, isatty(STDERR_FILENO) == 1, 5);
  progress.print(cat(options.task, ", ", pathfinder_level_name(options.difficulty), ", seed ", options.seed, ", ",
                     options.count, " images, into ", options.out.string()));
  const fs::path level = folder.path() / pathfinder_folder(rules_of(options).side, options.difficulty);
  fs::create_directories(level);
  PathfinderMaker maker(options, level, progress, stop);
  maker.run();
  folder.finish();
  maker.print_table();
}

}  // namespace subquad::lra
