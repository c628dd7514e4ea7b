// Errors of the whole project. A message is one line: "op: what came (name, shape, dtype, device), what was expected".
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace subquad {

// Every error that subquad throws derives from this one.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A tensor has the wrong rank, extent or layout.
class ShapeError : public Error {
 public:
  using Error::Error;
};

// A tensor has a dtype that the operation does not take.
class DTypeError : public Error {
 public:
  using Error::Error;
};

// A device is missing, unknown, or not the one where the other arguments are.
class DeviceError : public Error {
 public:
  using Error::Error;
};

// A file is not what its format promises; the message names the path and the byte offset or line.
class FormatError : public Error {
 public:
  using Error::Error;
};

// A broken promise of our own code, never of the caller; the message ends with the place that threw. (Builtins, because
// the clang 14 of Debian 12, which lints and runs the thread sanitizer, has no std::source_location.)
class InternalError : public Error {
 public:
  explicit InternalError(const std::string& what, const char* file = __builtin_FILE(), int line = __builtin_LINE());
};

// The arguments, printed one after the other: cat("rank ", 3) == "rank 3".
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

}  // namespace subquad
