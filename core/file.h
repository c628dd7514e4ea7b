// Files as the format readers and writers need them: reads that never run past the end unnoticed, and writes that
// happen as a whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "subquad/core/tensor.h"

namespace subquad {

// FormatError "path: byte N: what"; a very long `what` is cut.
[[noreturn]] void fail_format(const std::filesystem::path& path, std::uint64_t byte, std::string_view what);

// A regular file that is open for reading. Error when it is missing, unreadable or not a regular file.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }

  // Fills `to` from byte `offset` on; FormatError when the file ends before.
  void read(std::uint64_t offset, std::span<std::byte> to) const;

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::uint64_t size_ = 0;
};

// Bytes of a tensor that a file announces; nothing when they, counted without extents of 0, are more than an Index
// holds.
std::optional<std::uint64_t> element_bytes(const Shape& shape, DType dtype);

// Fills a contiguous CPU tensor with the elements that stand at byte `offset`. FormatError for a bool that is neither 0
// nor 1: such a byte in memory would be undefined behaviour.
void read_elements(const InputFile& file, std::uint64_t offset, Tensor& out);

// Replaces a file as a whole: the bytes go to `path` + ".tmp"; commit() brings them to the disk and renames. Whatever
// fails before that (a full disk, an exception of the caller) leaves the old file as it was and no temporary file; a
// killed process may leave the temporary, which the next write reuses. One writer per path at a time. A symbolic link
// is replaced, not followed; anything else that is not a regular file (a folder, a device) is an Error.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();  // without commit(): takes the temporary away
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Unbuffered: give it large pieces. Error when the system does not take them all.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void write_elements(const Tensor& t);  // contiguous, on the CPU
  void commit();

 private:
  [[noreturn]] void fail(int error_number) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

}  // namespace subquad
