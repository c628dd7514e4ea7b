// What the programs of this folder have in common around what they do: signals, errors, exit status.
#pragma once

#include <string>
#include <vector>

namespace subquad::lra {

// Calls body(argv[1] ... argv[argc - 1]) and returns its result as the program's exit status. An exception becomes
// "name: what" on stderr, and 2 for an OptionError, 1 for any other; so does a standard output that did not take all
// that was written. Writes beyond a file-size limit, or to a closed pipe, fail instead of ending the process.
int run_program(const char* name, int argc, char** argv, int (*body)(const std::vector<std::string>& args));

// Threads of the computations, 0: one per processor; and how floating-point numbers next to 0 are treated. To be called
// before anything is computed.
void set_up_processor(int threads);

}  // namespace subquad::lra
