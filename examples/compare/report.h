// What a comparison found, as files.
#pragma once

#include <filesystem>

#include "subquad/examples/compare/comparison.h"

namespace subquad::compare {

// {"format": 1, "seed", "features", "fit_steps", "rows": [{"inputs", "positions", "way", "budget", ...}, ...]}: nothing
// that depends on clocks; six significant digits.
std::string errors_json(const Comparison& c);

// What was written so; FormatError of another text. Growth is not in it.
Comparison read_errors(const std::string& json);

// {"format": 1, "features", "curves": [{"attention", "budget", "points": [...], "exponents": {...}, "within": {...}}]}:
// within is how far the fit of each exponent is off, a share of the value; null where two sizes make the line.
std::string growth_json(const Comparison& c);

// One self-contained HTML page: the table and the pictures.
std::string page(const Comparison& c);

// Makes the folder where it is not there. Error where that cannot be done, or nothing can be written into it.
void make_report_folder(const std::filesystem::path& folder);

// All of it as files of a folder that is there: errors.json, growth.json, *.svg, compare.html. Returns their names.
// Pictures are drawn from the numbers of errors.json: whoever reads that file draws the same ones, byte for byte.
std::vector<std::string> write_report(const std::filesystem::path& folder, const Comparison& c);

}  // namespace subquad::compare
