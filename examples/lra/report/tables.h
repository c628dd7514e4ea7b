// Records as tables for spreadsheets and data frames (RFC 4180: commas, CRLF, quotes where needed; one line of names).
//
//   RUN/metrics.csv   a row for each record of the kinds train, validation, baseline and test in metrics.jsonl
//   RUN/timing.csv    for each record of the kinds session and speed in timing.jsonl
//
// A cell is the record's field of the column's name, its digits as they stand there, or empty.
#pragma once

#include <string>
#include <vector>

#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

const std::vector<std::string>& metrics_columns();
const std::vector<std::string>& timing_columns();

// Both, replaced as a whole; they hold what the records hold at that moment.
void write_tables(const RunFolder& folder);

}  // namespace subquad::lra
