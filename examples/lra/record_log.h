// A file of records, one JSON object a line. metrics.jsonl holds only what the run computes, never the time of day, so
// that an interrupted and resumed run writes the same bytes as one that was left alone; times go to timing.jsonl.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include "subquad/core/error.h"

namespace subquad::lra {

using Record = nlohmann::ordered_json;

class RecordLog {
 public:
  // Opens for appending after the first `keep_bytes` bytes; what stands behind them was written after the checkpoint
  // that is resumed from, and is cut off. FormatError when the file is shorter than that.
  RecordLog(const std::filesystem::path& path, std::uintmax_t keep_bytes);
  explicit RecordLog(const std::filesystem::path& path);  // after all that is there

  // Complete on return, as far as other readers are concerned. Bytes of a text that are no UTF-8 become U+FFFD.
  void write(const Record& record);
  void observe(std::function<void(const Record&)> observer) { observer_ = std::move(observer); }  // of each write
  void sync();  // on the disk on return
  std::uintmax_t bytes() const { return bytes_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void open();
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::uintmax_t bytes_ = 0;
  std::function<void(const Record&)> observer_;
};

// Gives every record of a file to `take`, none of a file that is missing. FormatError with file and line for a line
// that is no record, and for what `take` complains of by a FormatError. A run that was killed may leave half a line at
// the end, which is passed over; so is what another program is writing at the moment.
void read_records(const std::filesystem::path& path, const std::function<void(const Record&)>& take);

// A record's number or text, `missing` where it has none of that name. FormatError for one of another type.
template <class T>
T field(const Record& record, const char* name, const T& missing) {
  const auto found = record.find(name);
  if (found == record.end()) return missing;
  constexpr bool number = std::is_arithmetic_v<T>;
  if (number ? !found->is_number() : !found->is_string())
    throw FormatError(cat(name, " is ", found->dump(), ", expected a ", number ? "number" : "text"));
  return found->get<T>();
}

inline std::string text_field(const Record& record, const char* name, const std::string& missing = "") {
  return field(record, name, missing);
}

}  // namespace subquad::lra
