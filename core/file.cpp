#include "subquad/core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace subquad {

namespace fs = std::filesystem;

namespace {

std::string system_message(int error_number) {
  return std::generic_category().message(error_number);
}

std::size_t byte_count(const Tensor& t) {
  return static_cast<std::size_t>(t.size()) * dtype_bytes(t.dtype());
}

void refuse_special_file(const fs::path& path) {
  std::error_code ignored;  // a path that cannot be looked at fails when it is opened, with the better message
  const fs::file_status status = fs::symlink_status(path, ignored);
  if (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_symlink(status))
    throw Error(cat("cannot write ", path.string(), ": it exists and is not a regular file"));
}

}  // namespace

void fail_format(const fs::path& path, std::uint64_t byte, std::string_view what) {
  constexpr std::size_t kLongest = 300;  // what quotes a hostile file may be as long as the file
  throw FormatError(
      cat(path.string(), ": byte ", byte, ": ", what.substr(0, kLongest), what.size() > kLongest ? "..." : ""));
}

InputFile::InputFile(const fs::path& path) : path_(path) {
  // Non-blocking: opening a pipe that nobody writes to would wait for ever.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw Error(cat("cannot open ", path.string(), ": ", system_message(errno)));
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw Error(cat("cannot read ", path.string(), ": it is not a regular file"));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  ::close(descriptor_);
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t got = ::pread(descriptor_, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(cat("cannot read ", path_.string(), " at byte ", offset, ": ", system_message(errno)));
    if (got == 0) fail_format(path_, offset, cat("the file ends here, ", to.size(), " more bytes expected"));
    offset += static_cast<std::uint64_t>(got);
    to = to.subspan(static_cast<std::size_t>(got));
  }
}

std::optional<std::uint64_t> element_bytes(const Shape& shape, DType dtype) {
  auto bytes = static_cast<Index>(dtype_bytes(dtype));
  for (const Index extent : shape)
    if (__builtin_mul_overflow(bytes, std::max<Index>(extent, 1), &bytes)) return std::nullopt;
  const bool none = std::find(shape.begin(), shape.end(), 0) != shape.end();
  return none ? 0 : static_cast<std::uint64_t>(bytes);
}

void read_elements(const InputFile& file, std::uint64_t offset, Tensor& out) {
  if (out.size() == 0) return;
  const std::span<std::byte> elements(out.bytes(), byte_count(out));
  file.read(offset, elements);
  if (out.dtype() != kBool) return;
  const auto bad = std::find_if(elements.begin(), elements.end(), [](std::byte b) { return b > std::byte{1}; });
  if (bad != elements.end())
    fail_format(file.path(), offset + static_cast<std::uint64_t>(bad - elements.begin()),
                cat("bool is ", std::to_integer<int>(*bad), ", expected 0 or 1"));
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path), temporary_(path) {
  refuse_special_file(path);
  temporary_ += ".tmp";
  refuse_special_file(temporary_);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail(put == 0 ? ENOSPC : errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void AtomicFile::write_elements(const Tensor& t) {
  if (t.size() > 0) write({t.bytes(), byte_count(t)});
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
  ::close(descriptor_);  // fsync has already reported what a late write could
  descriptor_ = -1;
  // The new name reaches the disk with the folder. Some file systems cannot sync a folder; the file itself is safe.
  const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  const int folder_descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_descriptor < 0) return;
  ::fsync(folder_descriptor);
  ::close(folder_descriptor);
}

void AtomicFile::fail(int error_number) const {
  throw Error(cat("cannot write ", path_.string(), ": ", system_message(error_number)));
}

}  // namespace subquad
