// ListOps files of Long Range Arena: a header "Source<TAB>Target", then one expression and its value a line.
#pragma once

#include <filesystem>

#include "subquad/examples/lra/tasks/listops.h"

namespace subquad::lra {

struct ListopsReading {
  // Leaves out every "]", which is what LRA's tokenizer did until March 2021: the tree cannot be recovered then.
  bool drop_brackets = false;
  bool verify_labels = true;  // every label must be the value of its expression
};

// The file may begin with a UTF-8 byte order mark; lines may end in \r\n or \n; parentheses are dropped and may be
// missing; empty lines are skipped. FormatError with path, line and token for anything else than expressions of
// listops.h with their label, and for a file without a header or without a single line after it. Error when the file
// cannot be opened or read.
Sequences read_listops(const std::filesystem::path& path, const ListopsReading& reading = {});

// With parentheses and \r\n, byte for byte as Python's csv module writes these files. Atomic (core/file.h).
void write_listops(const std::filesystem::path& path, const Sequences& set);

}  // namespace subquad::lra
