// A file of records, one JSON object a line. metrics.jsonl holds only what the run computes, never the time of day, so
// that an interrupted and resumed run writes the same bytes as one that was left alone; times go to timing.jsonl.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

namespace subquad::lra {

using Record = nlohmann::ordered_json;

class RecordLog {
 public:
  // Opens for appending after the first `keep_bytes` bytes; what stands behind them was written after the checkpoint
  // that is resumed from, and is cut off. FormatError when the file is shorter than that.
  RecordLog(const std::filesystem::path& path, std::uintmax_t keep_bytes);
  explicit RecordLog(const std::filesystem::path& path);  // after all that is there

  void write(const Record& record);  // complete on return, as far as other readers are concerned
  void sync();                       // on the disk on return
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
};

}  // namespace subquad::lra
