// A task: what goes in, what comes out, and its three sets of examples.
#pragma once

#include <string>
#include <vector>

#include "subquad/examples/lra/tasks/cifar.h"
#include "subquad/examples/lra/tasks/pathfinder_rules.h"
#include "subquad/examples/lra/tasks/sequences.h"

namespace subquad::lra {

// What a model must know of it.
struct TaskShape {
  Index vocabulary = 0;  // token ids are below it
  Index classes = 0;
  Index parts = 1;  // sequences of a sample
};

struct Task {
  std::string name;
  TaskShape shape;
  Sequences train;
  Sequences validation;
  Sequences test;

  std::vector<std::string> class_names;  // one a class
  std::vector<std::string> notes;        // what a reader of a score should know: how it was split, what was left out

  // A rule that looks at a sequence's first token only is worth reporting where that token means something; then
  // this is what to call it, with the meaning of each token.
  std::string first_token;  // "root operator"; "" where there is nothing to report
  std::vector<std::string> token_names;

  std::string hash() const;  // of all three sets, in hexadecimal digits
  Index longest() const;     // sequence of all three sets
};

// Where a task comes from.
struct TaskSource {
  std::string task = "listops";
  std::string folder;
  bool drop_brackets = false;   // listops: as broken as before LRA's fix of March 2021
  bool paper_protocol = false;  // text: validation is the test set
  Index train_samples = 0;      // drawn from each set; 0: all of it
  Index validation_samples = 0;
  Index test_samples = 0;
  Index cut = 0;                                       // texts: bytes of each that are read; 0: as many as LRA reads
  GreyRule grey = GreyRule::tensorflow;                // image: how colours become grey
  PathfinderLevel difficulty = PathfinderLevel::hard;  // pathfinder and path-x
};

// One line of what a data folder should hold.
struct ExpectedFile {
  std::string path;  // below the folder
  bool present = false;
};

// What there is to say of a task before its data are read.
struct TaskKind {
  std::string name;
  std::string about;       // one line for --help
  Index nominal = 0;       // length at which it is set, a cut of texts apart
  bool texts = false;      // of which --cut bytes are read
  bool in_lra = true;      // else a task of our own, set like one of Long Range Arena's
  bool generated = false;  // by make_data
  std::string origin;      // else where its data come from
  std::vector<ExpectedFile> (*expected)(const std::string& folder);
  Task (*load)(const TaskSource& source);
};

const std::vector<TaskKind>& task_kinds();
std::vector<std::string> task_names();
const TaskKind& task_kind(const std::string& name);  // Error for any other name

// Error that says where the data come from when the folder or a file of it is missing, or for which task its files are;
// Error, too, when a set is empty, two sets are the same without being asked for or the training set lacks a class;
// FormatError of the reader for what is in them. All of that is looked at before samples are drawn from the sets; Error
// when more are asked for than there are.
Task load_task(const TaskSource& source);

}  // namespace subquad::lra
