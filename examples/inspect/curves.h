// Curves as the page holds them. A curve of many values is cut into pieces of which it keeps the mean, the least and
// the largest value, so that a page of many heads and long inputs stays small and still shows every peak.
//
//   {"name", "first", "values"}                           values[i] at first + i
//   {"name", "points": [[x, y], ...]}                     where they do not stand at every whole number
//   {"name", "first", "step", "last", "values", ...}      values[i] is the mean of those at first + i step and the
//   {"name", "starts", "last", "values", ...}             following, up to the next piece or `last`; "least", "largest"
//
// A line that is a limit also has "limit": true. Pieces are equally long, or, where x counts in powers of ten, equally
// long on that axis. Values have four digits.
#pragma once

#include "subquad/examples/inspect/parts.h"

namespace subquad::inspect {

inline constexpr Index kMostOfCurve = 500;  // values of one; longer ones become half as many pieces

// Points that are not finite are left out; x must grow.
Json curve_record(const Line& line, bool log_x, Index most = kMostOfCurve);

// Cuts all curves of a page, in whatever part of it, to at most so many values.
void shorten_curves(Json& page_data, Index most);

}  // namespace subquad::inspect
