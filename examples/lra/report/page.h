// RUN/report.html: what a run was, what it reached and how it got there, as one page that needs nothing else: no
// network, no script, no other file. Light or dark as the reader's system is, and fit for paper.
#pragma once

#include <string>

#include "subquad/examples/lra/report/history.h"
#include "subquad/examples/lra/train_options.h"

namespace subquad::lra {

// What depends on clocks and machines stands in sections of the class "timing"; all else is the same for a run that was
// stopped and resumed as for one that was not.
std::string page_html(const TrainOptions& options, const Task& task, Index parameters, const History& history);

// Brings the page and the tables (tables.h) up to what the records say now.
void write_report(const TrainOptions& options, const Task& task, Index parameters, const RunFolder& folder);

}  // namespace subquad::lra
