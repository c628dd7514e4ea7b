#include "subquad/examples/lra/unfinished_folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "subquad/core/error.h"
#include "subquad/core/file.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

constexpr const char* kDescription = "make_data.json";

[[noreturn]] void fail_exists(const fs::path& out) {
  throw Error(cat("--out ", out.string(), " exists and is not overwritten; remove it or give another folder"));
}

void refuse_content(const fs::path& out) {
  if (fs::exists(out) && !(fs::is_directory(out) && fs::is_empty(out))) fail_exists(out);
}

void rename_to_out(const fs::path& path, const fs::path& out) {
  std::error_code failure;
  fs::rename(path, out, failure);
  if (failure == std::errc::directory_not_empty || failure == std::errc::file_exists) fail_exists(out);
  if (failure) throw Error(cat("--out ", out.string(), ": ", failure.message()));
}

// Its path, after it has been made or found to be ours.
fs::path resumable(const fs::path& out) {
  refuse_content(out);
  const fs::path path = out.string() + ".unfinished";
  if (fs::exists(path) && !fs::exists(path / kDescription) && !(fs::is_directory(path) && fs::is_empty(path)))
    throw Error(cat("--out: ", path.string(), " is in the way, and make_data has not made it; give another folder"));
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure) throw Error(cat("--out ", out.string(), ": ", failure.message()));
  return path;
}

std::string text_of(const fs::path& path) {
  const InputFile file(path);
  std::string text(static_cast<std::size_t>(file.size()), ' ');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace

UnfinishedFolder::UnfinishedFolder(const fs::path& out) : out_(out), parent_(out.string() + ".unfinished-XXXXXX") {
  refuse_content(out);
  std::error_code failure;
  fs::create_directories(out.parent_path(), failure);
  if (!failure && !mkdtemp(parent_.data())) failure = std::error_code(errno, std::generic_category());
  if (failure) throw Error(cat("--out ", out.string(), ": ", failure.message()));
  path_ = fs::path(parent_) / out.filename();
  fs::create_directory(path_);  // with the usual permissions, which mkdtemp does not give
}

UnfinishedFolder::~UnfinishedFolder() {
  std::error_code ignored;
  fs::remove_all(parent_, ignored);
}

void UnfinishedFolder::finish() {
  rename_to_out(path_, out_);
}

OpenFile::OpenFile(const fs::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw Error(cat("cannot write ", path.string(), ": ", std::generic_category().message(errno)));
}

OpenFile::~OpenFile() {
  ::close(descriptor_);
}

bool OpenFile::lock() {
  return ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
}

void OpenFile::write(std::int64_t offset, std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t taken = ::pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0) throw Error(cat("cannot write ", path_.string(), ": ", std::generic_category().message(errno)));
    bytes = bytes.subspan(static_cast<std::size_t>(taken));
    offset += taken;
  }
}

ResumableFolder::ResumableFolder(const fs::path& out, const std::string& description)
    : out_(out), path_(resumable(out)), description_(path_ / kDescription) {
  if (!description_.lock()) throw Error(cat("--out: another process is at work in ", path_.string()));
  const std::string earlier = text_of(path_ / kDescription);
  if (earlier.empty())
    description_.write(0, {reinterpret_cast<const std::uint8_t*>(description.data()), description.size()});
  else if (earlier != description)
    throw Error(cat("--out: ", (path_ / kDescription).string(),
                    " says that this was begun with other options; give those, or another folder, or remove it"));
}

void ResumableFolder::finish() {
  rename_to_out(path_, out_);
}

}  // namespace subquad::lra
