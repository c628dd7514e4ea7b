#include "subquad/core/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "subquad/core/check.h"
#include "subquad/core/file.h"

namespace subquad {

namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "elements are copied without swapping their bytes");

namespace {

constexpr std::uint64_t kLengthBytes = 8;              // the length of the header stands before it
constexpr std::uint64_t kLargestHeader = 100'000'000;  // bytes; the limit of the reference implementation
constexpr const char* kMetadataKey = "__metadata__";

// A float16 by its bits; every one of them has a float32.
struct Half {
  std::uint16_t bits;

  explicit operator float() const {
    const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, fraction = bits & 1023u;
    std::uint32_t word = (exponent + 112) << 23 | fraction << 13;
    if (exponent == 31) word = 0x7f800000u | fraction << 13;                                          // infinity, NaN
    if (exponent == 0) word = std::bit_cast<std::uint32_t>(static_cast<float>(fraction) * 0x1p-24f);  // subnormal
    return std::bit_cast<float>(sign | word);
  }
};

// Makes elements of To from those of From that fill the end of `out`; returns the place of the first that does not fit.
// Going forward, what is written never passes what is still to be read.
template <class From, class To>
std::optional<Index> widen(Tensor& out) {
  std::byte* to = out.bytes();
  const std::byte* from = to + static_cast<std::size_t>(out.size()) * (sizeof(To) - sizeof(From));
  for (Index i = 0; i < out.size(); ++i, from += sizeof(From), to += sizeof(To)) {
    From narrow;
    std::memcpy(&narrow, from, sizeof narrow);
    if constexpr (std::integral<From>)
      if (!std::in_range<To>(narrow)) return i;
    const To wide = static_cast<To>(narrow);
    std::memcpy(to, &wide, sizeof wide);
  }
  return std::nullopt;
}

struct FileDType {
  std::string_view name;
  DType dtype;                                       // in memory
  std::size_t bytes;                                 // of an element in the file
  std::optional<Index> (*widen)(Tensor&) = nullptr;  // null where file and memory hold the same bytes
};
// Of two with one dtype the first is the one that is written.
constexpr std::array<FileDType, 14> kDTypes = {{{"F32", kFloat32, 4},
                                                {"F64", kFloat64, 8},
                                                {"BF16", kBFloat16, 2},
                                                {"I32", kInt32, 4},
                                                {"I64", kInt64, 8},
                                                {"U8", kUInt8, 1},
                                                {"BOOL", kBool, 1},
                                                {"C64", kComplex64, 8},
                                                {"F16", kFloat32, 2, widen<Half, float>},
                                                {"I8", kInt32, 1, widen<std::int8_t, std::int32_t>},
                                                {"I16", kInt32, 2, widen<std::int16_t, std::int32_t>},
                                                {"U16", kInt32, 2, widen<std::uint16_t, std::int32_t>},
                                                {"U32", kInt64, 4, widen<std::uint32_t, std::int64_t>},
                                                {"U64", kInt64, 8, widen<std::uint64_t, std::int64_t>}}};

// One tensor as the header describes it.
struct Entry {
  std::string name;
  std::uint64_t at = 0;  // byte of the file where the header speaks of it, for messages
  const FileDType* type = nullptr;
  std::optional<Shape> shape;
  std::vector<std::uint64_t> offsets;  // begin and end, from the first byte behind the header
};

// An iterator over the header that shows how far the JSON parser has read.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* next;
  const char** reached;

  reference operator*() const { return *next; }
  Cursor& operator++() {
    *reached = ++next;
    return *this;
  }
  bool operator==(const Cursor& other) const { return next == other.next; }
};

// Takes the header event by event, so that no tree is built from hostile text: whatever may not stand in its place
// (nesting, numbers, unknown or repeated keys) ends the reading at once.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const fs::path& path, const std::string& text) : path_(path), text_(text), reached_(text.data()) {}

  void run() {
    const Cursor begin{text_.data(), &reached_};
    const Cursor end{text_.data() + text_.size(), &reached_};
    json::sax_parse(begin, end, this);
    if (reached_ != end.next) fail("text behind the end of the header");  // the parser takes a NUL byte for the end
  }

  std::map<std::string, std::string> metadata;
  std::map<std::string, Entry> entries;

  bool null() override { return fail("null is not allowed here"); }
  bool boolean(bool) override { return fail("true or false is not allowed here"); }
  bool number_integer(number_integer_t value) override { return fail(cat("negative number ", value)); }
  bool number_float(number_float_t, const string_t& text) override { return fail(cat("number ", text, " is no size")); }
  bool binary(binary_t&) override { return fail("binary value"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<Index>::max()))
      fail(cat("number ", value, " too large"));
    if (place_ == Place::shape) {
      if (entry_->shape->rank() == kMaxRank) fail(cat("more than ", kMaxRank, " dimensions"));
      entry_->shape->push_back(static_cast<Index>(value));
    } else if (place_ == Place::offsets && entry_->offsets.size() < 2) {
      entry_->offsets.push_back(value);
    } else {
      fail(cat("number ", value, " is not allowed here"));
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      metadata[key_] = value;
    } else if (place_ == Place::entry && key_ == "dtype") {
      const auto found = std::find_if(kDTypes.begin(), kDTypes.end(), [&](const auto& d) { return d.name == value; });
      if (found == kDTypes.end()) fail(cat("dtype ", json(value), " is not supported"));
      entry_->type = &*found;
    } else {
      fail("a string is not allowed here");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::header;
    } else if (place_ == Place::header) {
      place_ = key_ == kMetadataKey ? Place::metadata : Place::entry;
    } else {
      fail("an object is not allowed here");
    }
    return true;
  }

  bool key(string_t& value) override {
    key_ = value;
    if (place_ == Place::header && key_ == kMetadataKey) {
      if (has_metadata_) fail("a second __metadata__");
      has_metadata_ = true;
    } else if (place_ == Place::header) {
      const auto [where, added] = entries.try_emplace(key_);
      entry_ = &where->second;
      if (!added) fail("a second tensor of this name");
      entry_->name = key_;
      entry_->at = byte();
    } else if (place_ == Place::metadata) {
      if (metadata.contains(key_)) fail(cat("a second metadata key ", json(value)));
    } else {
      check_entry_key();
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::entry && !(entry_->type && entry_->shape && entry_->offsets.size() == 2))
      fail("needs dtype, shape and two data_offsets");
    place_ = place_ == Place::header ? Place::outside : Place::header;
    if (place_ == Place::header) entry_ = nullptr;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::entry && key_ == "shape") {
      place_ = Place::shape;
      entry_->shape.emplace();
    } else if (place_ == Place::entry && key_ == "data_offsets") {
      place_ = Place::offsets;
    } else {
      fail("an array is not allowed here");
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::entry;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    const std::string_view what = error.what();  // "[json.exception...] parse error at ...: <the part that helps>"
    const std::size_t colon = what.find(": ");
    return fail(cat("the header is not JSON: ", colon == what.npos ? what : what.substr(colon + 2)));
  }

 private:
  enum class Place { outside, header, metadata, entry, shape, offsets };

  std::uint64_t byte() const { return kLengthBytes + static_cast<std::uint64_t>(reached_ - text_.data()); }

  void check_entry_key() const {
    const bool again = (key_ == "dtype" && entry_->type) || (key_ == "shape" && entry_->shape) ||
                       (key_ == "data_offsets" && !entry_->offsets.empty());
    if (again) fail(cat("a second ", key_));
    if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets")
      fail(cat("key ", json(key_), " is none of dtype, shape, data_offsets"));
  }

  // Returns only for the compiler's sake: a handler of the parser answers bool.
  bool fail(const std::string& what) const {
    fail_format(path_, byte(), entry_ ? cat("tensor ", json(entry_->name), ": ", what) : what);
  }

  const fs::path& path_;
  const std::string& text_;
  const char* reached_;
  Place place_ = Place::outside;
  std::string key_;
  bool has_metadata_ = false;
  Entry* entry_ = nullptr;  // the tensor that is being read
};

std::string read_header_text(const InputFile& file) {
  if (file.size() < kLengthBytes)
    fail_format(file.path(), file.size(), "the file ends inside the header's length, 8 bytes expected");
  std::uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > file.size() - kLengthBytes || length > kLargestHeader)
    fail_format(file.path(), 0,
                cat("header of ", length, " bytes in a file of ", file.size(), " bytes (at most ", kLargestHeader,
                    " are accepted)"));
  std::string text(length, '\0');
  file.read(kLengthBytes, std::as_writable_bytes(std::span(text)));
  if (text.empty() || text.front() != '{') fail_format(file.path(), kLengthBytes, "the header does not begin with {");
  return text;
}

// Nothing when the elements, once in memory, are more than a Tensor holds.
std::optional<std::uint64_t> bytes_in_file(const Shape& shape, const FileDType& type) {
  const std::optional<std::uint64_t> bytes = element_bytes(shape, type.dtype);
  if (!bytes) return std::nullopt;
  return *bytes / dtype_bytes(type.dtype) * type.bytes;
}

// The ranges of all tensors, sorted, must follow one another and fill the file to its last byte.
void check_ranges(const InputFile& file, std::uint64_t data_begin, const std::map<std::string, Entry>& entries) {
  std::vector<const Entry*> sorted;
  for (const auto& [name, entry] : entries) sorted.push_back(&entry);
  std::stable_sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->offsets < b->offsets; });

  const std::uint64_t data_bytes = file.size() - data_begin;
  std::uint64_t expected_begin = 0;
  for (const Entry* entry : sorted) {
    const auto fail = [&](const std::string& what) {
      fail_format(file.path(), entry->at, cat("tensor ", json(entry->name), ": ", what));
    };
    const std::uint64_t begin = entry->offsets[0], end = entry->offsets[1];
    if (begin > end || end > data_bytes)
      fail(cat("data_offsets [", begin, ", ", end, "] are not a range within the ", data_bytes, " bytes of data"));
    if (bytes_in_file(entry->shape.value(), *entry->type) != end - begin)
      fail(cat("data_offsets [", begin, ", ", end, "] do not fit shape ", *entry->shape, " ", entry->type->name));
    if (begin != expected_begin)
      fail(cat("data_offsets begin at ", begin, ", expected ", expected_begin, ": ranges ",
               begin < expected_begin ? "overlap" : "leave a gap"));
    expected_begin = end;
  }
  if (expected_begin != data_bytes)
    fail_format(file.path(), data_begin + expected_begin,
                cat(data_bytes - expected_begin, " bytes at the end belong to no tensor"));
}

Tensor read_tensor(const InputFile& file, std::uint64_t data_begin, const Entry& entry) {
  const FileDType& type = *entry.type;
  const std::uint64_t begin = data_begin + entry.offsets[0];
  Tensor out = empty(*entry.shape, type.dtype, kCpu);
  if (type.widen == nullptr) {
    read_elements(file, begin, out);
    return out;
  }
  const std::size_t bytes = entry.offsets[1] - entry.offsets[0];
  const std::size_t room = static_cast<std::size_t>(out.size()) * dtype_bytes(type.dtype);
  if (bytes > 0) file.read(begin, {out.bytes() + (room - bytes), bytes});
  if (const auto bad = type.widen(out))
    fail_format(file.path(), begin + static_cast<std::uint64_t>(*bad) * type.bytes,
                cat("tensor ", json(entry.name), ": a ", type.name, " that does not fit ", type.dtype));
  return out;
}

std::string_view dtype_in_file(const std::string& name, DType dtype) {
  for (const FileDType& known : kDTypes)
    if (known.dtype == dtype) return known.name;
  throw DTypeError(cat("write_safetensors: tensor ", name, " is ", dtype, ", which the format does not have"));
}

std::string header_of(const SafetensorsFile& file, const std::vector<std::pair<std::string, Tensor>>& ordered) {
  json header = json::object();
  if (!file.metadata.empty()) header[kMetadataKey] = file.metadata;
  std::size_t begin = 0;
  for (const auto& [name, t] : ordered) {
    const std::size_t end = begin + static_cast<std::size_t>(t.size()) * dtype_bytes(t.dtype());
    header[name] = {{"dtype", dtype_in_file(name, t.dtype())},
                    {"shape", std::vector<Index>(t.shape().begin(), t.shape().end())},
                    {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // elements begin at a multiple of 8 bytes
  return text;
}

}  // namespace

SafetensorsFile read_safetensors(const fs::path& path) {
  const InputFile file(path);
  const std::string text = read_header_text(file);
  HeaderReader header(path, text);
  header.run();
  const std::uint64_t data_begin = kLengthBytes + text.size();
  check_ranges(file, data_begin, header.entries);

  SafetensorsFile out;
  out.metadata = std::move(header.metadata);
  for (const auto& [name, entry] : header.entries) out.tensors[name] = read_tensor(file, data_begin, entry);
  return out;
}

void write_safetensors(const fs::path& path, const SafetensorsFile& file) {
  std::vector<std::pair<std::string, Tensor>> ordered;
  for (const auto& [name, t] : file.tensors) {
    check_defined("write_safetensors", name.c_str(), t);
    if (name == kMetadataKey) throw Error("write_safetensors: a tensor cannot be named __metadata__");
    ordered.emplace_back(name, t.to(kCpu).contiguous());
  }
  // Wide elements first: every tensor then begins at a multiple of its element's size.
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return dtype_bytes(a.second.dtype()) > dtype_bytes(b.second.dtype());
  });
  std::string header;
  try {
    header = header_of(file, ordered);
  } catch (const json::type_error&) {
    throw Error(cat("write_safetensors: ", path.string(), ": a name or a metadata value is not UTF-8"));
  }

  AtomicFile out(path);
  const std::uint64_t length = header.size();
  out.write(std::as_bytes(std::span(&length, 1)));
  out.write(header);
  for (const auto& [name, t] : ordered) out.write_elements(t);
  out.commit();
}

}  // namespace subquad
