// Where make_data makes its files: a folder beside OUT, which becomes OUT when all is well. So OUT is complete or not
// there. OUT must not exist before, or be an empty folder: an Error of all of these says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace subquad::lra {

// OUT.unfinished-XXXXXX, which nobody else has. It goes away unless it is finished; only a killed run leaves it behind.
class UnfinishedFolder {
 public:
  explicit UnfinishedFolder(const std::filesystem::path& out);
  ~UnfinishedFolder();
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  void finish();

 private:
  std::filesystem::path out_;
  std::string parent_;
  std::filesystem::path path_;
};

// A file that is written at any place, also one that an earlier run has begun. Error when the system does not take it.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path);  // made where there is none
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  bool lock();  // false when another process holds it; held until this one closes it or ends, however that comes
  void write(std::int64_t offset, std::span<const std::uint8_t> bytes);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

// OUT.unfinished, which stays when a run ends early, and which the next one goes on with. `description` of what is made
// stands in its make_data.json. Error when that is another one, when the folder is none of ours, or when another
// process is at work in it.
class ResumableFolder {
 public:
  ResumableFolder(const std::filesystem::path& out, const std::string& description);

  const std::filesystem::path& path() const { return path_; }
  void finish();

 private:
  std::filesystem::path out_;
  std::filesystem::path path_;
  OpenFile description_;
};

}  // namespace subquad::lra
