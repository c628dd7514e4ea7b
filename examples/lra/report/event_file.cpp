#include "subquad/examples/lra/report/event_file.h"

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "subquad/core/error.h"
#include "subquad/examples/lra/report/crc32c.h"

namespace subquad::lra {

namespace {

// Fields of a protobuf message. A key is field number and wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5
// four bytes.
void put_varint(std::string& to, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) to += static_cast<char>(value | 0x80);
  to += static_cast<char>(value);
}

template <class Bits>
void put_little_endian(std::string& to, Bits bits) {
  for (std::size_t i = 0; i < sizeof bits; ++i) to += static_cast<char>(bits >> (8 * i));
}

void put_key(std::string& to, int field, int wire_type) {
  put_varint(to, static_cast<std::uint64_t>(field << 3 | wire_type));
}

void put_whole(std::string& to, int field, Index value) {
  put_key(to, field, 0);
  put_varint(to, static_cast<std::uint64_t>(value));
}

void put_double(std::string& to, int field, double value) {
  put_key(to, field, 1);
  put_little_endian(to, std::bit_cast<std::uint64_t>(value));
}

void put_float(std::string& to, int field, float value) {
  put_key(to, field, 5);
  put_little_endian(to, std::bit_cast<std::uint32_t>(value));
}

void put_bytes(std::string& to, int field, const std::string& bytes) {  // text, or a message
  put_key(to, field, 2);
  put_varint(to, bytes.size());
  to += bytes;
}

std::string event(Index step, double wall_time) {
  std::string message;
  put_double(message, 1, wall_time);
  if (step != 0) put_whole(message, 2, step);
  return message;
}

std::string masked_crc(const std::string& bytes) {
  const std::uint32_t crc = crc32c(bytes);
  std::string four;
  put_little_endian(four, (crc >> 15 | crc << 17) + 0xa282ead8u);
  return four;
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& path, double wall_time)
    : path_(path), file_(std::fopen(path.c_str(), "wbx")) {
  if (!file_) fail("cannot be made");
  std::string version = event(0, wall_time);
  put_bytes(version, 3, "brain.Event:2");
  write_record(version);
}

void EventFile::start_session(Index step, double wall_time) {
  std::string session;
  put_whole(session, 1, 1);  // START
  std::string message = event(step, wall_time);
  put_bytes(message, 7, session);
  write_record(message);
}

void EventFile::write(Index step, double wall_time, const std::vector<Scalar>& scalars) {
  if (scalars.empty()) return;
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    std::string value;
    put_bytes(value, 1, tag);
    put_float(value, 2, static_cast<float>(number));
    put_bytes(summary, 1, value);
  }
  std::string message = event(step, wall_time);
  put_bytes(message, 5, summary);
  write_record(message);
}

void EventFile::write_record(const std::string& event) {
  std::string length;
  put_little_endian(length, std::uint64_t{event.size()});
  const std::string record = length + masked_crc(length) + event + masked_crc(event);
  if (std::fwrite(record.data(), 1, record.size(), file_.get()) != record.size() || std::fflush(file_.get()) != 0)
    fail("cannot write");
}

void EventFile::fail(const char* what) const {
  throw Error(cat(path_.string(), ": ", what, ": ", std::strerror(errno)));
}

}  // namespace subquad::lra
