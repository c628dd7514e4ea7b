// Files of a test: a folder of its own that goes away with the test, and reading and writing whole files as strings.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace subquad::test {

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, std::string_view text);

// While it lives, no file of this process can grow beyond `bytes`: a write past that fails, as on a full disk.
class FullDisk {
 public:
  explicit FullDisk(std::size_t bytes);
  ~FullDisk();
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  std::size_t old_limit_;
  void (*old_handler_)(int);
};

}  // namespace subquad::test
