// Pathfinder and Path-X on disk, laid out as in LRA's release:
//
//   DATA/pathfinder32/curv_contour_length_14/metadata/B.npy         text in spite of its name: a line an image, the
//                                                                   fields separated by blanks
//                                           /imgs/B/sample_I.png    8-bit grey
//                                           /packed.bin             ours: all images, and nothing else is read where it
//                                                                   stands; per image its label, 0 or 1, in a byte, and
//                                                                   its pixels row by row
//
// Fields of a line: subfolder "imgs/B", file name, index, label, continuity, contour length, distractor length, paddle
// length, paddle thickness, paddle margin, number of paddle contrasts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "subquad/examples/lra/tasks/pathfinder.h"
#include "subquad/examples/lra/tasks/sequences.h"

namespace subquad::lra {

inline constexpr const char* kPathfinderPacked = "packed.bin";

// "pathfinder32/curv_baseline", ".../curv_contour_length_9", ".../curv_contour_length_14": a level's folder.
std::string pathfinder_folder(Index side, PathfinderLevel level);

struct PathfinderLine {
  std::string image;  // path of the PNG file below the level's folder
  int label = 0;
};

// FormatError with path, line and field for a line of less than four fields or another label than 0 and 1, and for a
// file without lines. Empty lines are skipped.
std::vector<PathfinderLine> read_pathfinder_metadata(const std::filesystem::path& path);

// The line of an image as the original generator writes it, with its '\n'.
std::string pathfinder_metadata_line(Index block, Index index, const PathfinderImage& image,
                                     const PathfinderRules& rules);

struct PathfinderSets {
  Sequences train;
  Sequences validation;
  Sequences test;
  Index empty = 0;  // PNG files of 0 bytes, which are left out: LRA's release has one
  std::string first_empty;
};

// The images of a level's folder in the order of blocks and lines, split 80/10/10 by a shuffle that depends on their
// number alone. The packed file and the PNG files that it was made with give the same sets. FormatError for what is in
// the files: see read_png and read_pathfinder_metadata; besides, an image of another size, a packed file whose size is
// no multiple of an image's, labels of one class only, less than 10 images. Error when a file is missing.
PathfinderSets read_pathfinder(const std::filesystem::path& folder, Index side);

}  // namespace subquad::lra
