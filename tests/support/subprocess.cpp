#include "subquad/tests/support/subprocess.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subquad/core/error.h"
#include "subquad/tests/support/temporary_folder.h"

namespace subquad::test {

namespace {

// In the child: only calls that are safe between fork and exec.
[[noreturn]] void become(const char* path, char** argv, const char* out, const char* err,
                         const std::optional<std::uintmax_t>& largest_file) {
  dup2(open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
  dup2(open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
  if (largest_file) {
    const rlimit limit = {*largest_file, *largest_file};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  execv(path, argv);
  _exit(127);
}

}  // namespace

Subprocess::Subprocess(const std::string& program, const std::vector<std::string>& args,
                       std::optional<std::uintmax_t> largest_file) {
  static int made = 0;
  const auto stem = std::filesystem::temp_directory_path() / cat("subquad_program_", getpid(), "_", made++);
  out_ = stem.string() + ".out";
  err_ = stem.string() + ".err";
  std::string path = cat(SUBQUAD_BIN_DIR, "/", program);
  std::vector<std::string> words = args;
  std::vector<char*> argv = {path.data()};
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) throw Error("fork failed");
  if (pid_ == 0) become(path.c_str(), argv.data(), out_.c_str(), err_.c_str(), largest_file);
}

Subprocess::~Subprocess() {
  if (pid_ >= 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::filesystem::remove(out_);
  std::filesystem::remove(err_);
}

void Subprocess::signal(int number) {
  kill(pid_, number);
}

Finished Subprocess::wait() {
  int status = 0;
  if (waitpid(pid_, &status, 0) != pid_) throw Error("waitpid failed");
  pid_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_text(out_), read_text(err_)};
}

}  // namespace subquad::test
