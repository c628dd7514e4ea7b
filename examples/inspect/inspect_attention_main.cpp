// Writes a page that shows what a model's attention does with an input; `inspect_attention --help` lists what it can be
// told.
//
// Ends with 0, with 1 on an error, which an input that cannot be read is, and 2 on a wrong option.
#include <iostream>

#include "subquad/core/file.h"
#include "subquad/examples/inspect/page_data.h"
#include "subquad/examples/inspect/parts.h"
#include "subquad/examples/lra/program.h"

namespace subquad::inspect {

namespace {

int inspect_attention(const std::vector<std::string>& args) {
  InspectOptions options;
  if (!parse_inspect_options(args, options)) return 0;
  Subject subject = open_subject(options);
  PageData page = page_data(subject);
  if (!options.matrices.empty()) write_matrices(options.matrices, page.matrices);
  const FinishedPage finished = finished_page(std::move(page), static_cast<std::size_t>(options.megabytes * 1e6));
  AtomicFile file(options.out);
  file.write(finished.html);
  file.commit();
  std::cout << options.out << ": " << with_unit(static_cast<double>(finished.html.size()))
            << "B; open it in any browser\n";
  if (!finished.keeps_limit)
    std::cout << "That is " << over_limit_text(finished, options.megabytes, options.saved.run.empty()) << ".\n";
  return 0;
}

}  // namespace

}  // namespace subquad::inspect

int main(int argc, char** argv) {
  return subquad::lra::run_program("inspect_attention", argc, argv, subquad::inspect::inspect_attention);
}
