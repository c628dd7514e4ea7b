// A task: what goes in, what comes out, and its three sets of examples.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "subquad/examples/lra/sequences.h"

namespace subquad::lra {

struct Task {
  std::string name;
  Index vocabulary = 0;  // token ids are below it; 0 is padding
  Index classes = 0;
  Sequences train;
  Sequences validation;
  Sequences test;

  // A rule that looks at a sequence's first token only is worth reporting where that token means something; then
  // this is what to call it, with the meaning of each token.
  std::string first_token;  // "root operator"; "" where there is nothing to report
  std::vector<std::string> token_names;

  std::string hash() const;  // of all three sets, in hexadecimal digits
  Index longest() const;     // sequence of all three sets
};

std::vector<std::string> task_names();

// Where a task comes from.
struct TaskSource {
  std::string task = "listops";
  std::string folder;
  bool drop_brackets = false;  // listops: as broken as before LRA's fix of March 2021
};

// Reads FOLDER/basic_{train,val,test}.tsv for listops. Error that names the make_data command when the folder or a file
// is missing, or when two sets are the same; FormatError of the reader for what is in them.
Task load_task(const TaskSource& source);

}  // namespace subquad::lra
