// Loading a task from bad data.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/task.h"

namespace subquad::test {

// It must fail with an E that says `text`.
template <class E = FormatError>
void check_load_refused(const lra::TaskSource& source, const std::string& text) {
  std::string said;
  try {
    lra::load_task(source);
  } catch (const E& error) {
    said = error.what();
  }
  CAPTURE(said);
  CHECK_NE(said.find(text), std::string::npos);
}

}  // namespace subquad::test
