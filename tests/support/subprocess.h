// Runs a built program as its users do.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace subquad::test {

struct Finished {
  int status = 0;  // exit status, or 128 + the signal that ended it
  std::string out;
  std::string err;
};

class Subprocess {
 public:
  // `largest_file`: no file can grow beyond so many bytes, as on a full disk.
  Subprocess(const std::string& program, const std::vector<std::string>& args,
             std::optional<std::uintmax_t> largest_file = {});
  ~Subprocess();  // kills what still runs
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  void signal(int number);
  Finished wait();

 private:
  pid_t pid_ = -1;
  std::filesystem::path out_;
  std::filesystem::path err_;
};

inline Finished run_program(const std::string& program, const std::vector<std::string>& args) {
  return Subprocess(program, args).wait();
}

}  // namespace subquad::test
