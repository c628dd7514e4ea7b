// An event file as TensorBoard reads it: records of TFRecord, each a protobuf message tensorflow.Event.
//
//   record   length (8 bytes), masked crc32c of these 8 bytes (4), message, masked crc32c of the message (4);
//            little-endian; masked is ((crc >> 15) | (crc << 17)) + 0xa282ead8
//   Event    1 wall_time (double)   2 step (int64)   3 file_version (string)   5 Summary   7 SessionLog
//   Summary  1 Value, repeated: 1 tag (string)   2 simple_value (float)
//   SessionLog   1 status (1: START)
//
// Source: TensorFlow's event.proto, summary.proto and record_writer; only the fields that are used here.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::lra {

using Scalar = std::pair<std::string, double>;  // tag, value

class EventFile {
 public:
  // Makes a new file, which begins with its version. Error when it exists or cannot be written. wall_time: seconds
  // since 1970, here and below.
  EventFile(const std::filesystem::path& path, double wall_time);

  // TensorBoard forgets what earlier files say of `step` and of all steps behind it.
  void start_session(Index step, double wall_time);
  void write(Index step, double wall_time, const std::vector<Scalar>& scalars);  // nothing where there are none

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void write_record(const std::string& event);  // complete on return, as far as other readers are concerned
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace subquad::lra
