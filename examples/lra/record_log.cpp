#include "subquad/examples/lra/record_log.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "subquad/core/shape.h"

namespace subquad::lra {

namespace fs = std::filesystem;

namespace {

std::uintmax_t bytes_of(const fs::path& path) {  // 0 when there is nothing yet
  return fs::is_regular_file(path) ? fs::file_size(path) : 0;
}

}  // namespace

RecordLog::RecordLog(const fs::path& path, std::uintmax_t keep_bytes) : path_(path), bytes_(keep_bytes) {
  const std::uintmax_t present = bytes_of(path);
  if (present < keep_bytes)
    throw FormatError(cat(path.string(), ": ", present, " bytes, but the checkpoint was saved after ", keep_bytes,
                          "; the records before it are missing"));
  if (present > keep_bytes) fs::resize_file(path, keep_bytes);
  open();
}

RecordLog::RecordLog(const fs::path& path) : path_(path), bytes_(bytes_of(path)) {
  open();
}

void RecordLog::open() {
  file_.reset(std::fopen(path_.c_str(), "ab"));
  if (!file_) fail("cannot open");
}

void RecordLog::write(const Record& record) {
  const std::string line = record.dump(-1, ' ', false, Record::error_handler_t::replace) + '\n';
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() || std::fflush(file_.get()) != 0)
    fail("cannot write");
  bytes_ += line.size();
  if (observer_) observer_(record);
}

void RecordLog::sync() {
  if (fsync(fileno(file_.get())) != 0) fail("cannot sync");
}

void RecordLog::fail(const char* what) const {
  throw Error(cat(path_.string(), ": ", what, ": ", std::strerror(errno)));
}

void read_records(const fs::path& path, const std::function<void(const Record&)>& take) {
  std::ifstream file(path);
  std::string line;
  for (Index number = 1; std::getline(file, line); ++number) {
    const Record record = Record::parse(line, nullptr, false);
    if (!record.is_object()) {
      if (file.peek() == std::ifstream::traits_type::eof()) break;
      throw FormatError(cat(path.string(), ": line ", number, " is no JSON object"));
    }
    try {
      take(record);
    } catch (const FormatError& error) {
      throw FormatError(cat(path.string(), ": line ", number, ": ", error.what()));
    }
  }
}

}  // namespace subquad::lra
