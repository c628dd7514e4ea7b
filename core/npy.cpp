#include "subquad/core/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <optional>

#include "subquad/core/check.h"
#include "subquad/core/file.h"

namespace subquad {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "elements are written as they stand in memory");

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kVersionEnd = 8;            // magic, major, minor
constexpr std::uint64_t kLargestHeader = 64 << 10;  // bytes; without structured types a header takes about 100
constexpr std::uint64_t kAlignElements = 64;        // where NumPy, too, lets the elements begin

struct NamedDType {
  std::string_view name;  // without the byte order
  DType dtype;
};
constexpr std::array<NamedDType, 8> kDTypes = {{{"f4", kFloat32},
                                                {"f8", kFloat64},
                                                {"i4", kInt32},
                                                {"i8", kInt64},
                                                {"u1", kUInt8},
                                                {"b1", kBool},
                                                {"c8", kComplex64},
                                                {"c16", kComplex128}}};

struct Header {
  std::optional<DType> dtype;
  std::optional<bool> fortran_order;
  std::optional<Shape> shape;
  bool big_endian = false;
  std::uint64_t data_begin = 0;
};

// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, keys in any order.
class HeaderParser {
 public:
  HeaderParser(const fs::path& path, std::uint64_t begin, const std::string& text)
      : path_(path), begin_(begin), text_(text) {}

  Header run() {
    expect('{');
    while (!accept('}')) {
      entry();
      if (accept('}')) break;
      expect(',');
    }
    skip_space();
    if (at_ != text_.size()) fail("text behind the header's dictionary");
    if (!header_.dtype || !header_.fortran_order || !header_.shape)
      fail("the header needs descr, fortran_order and shape");
    return header_;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { fail_format(path_, begin_ + at_, what); }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(cat("expected ", c, " in the header"));
  }
  bool accept_word(std::string_view word) {
    skip_space();
    if (text_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }

  std::string quoted() {
    const char quote = accept('"') ? '"' : '\'';
    if (quote == '\'' && !accept('\'')) fail("expected a quoted string in the header");
    const std::size_t end = text_.find(quote, at_);
    if (end == std::string::npos) fail("a quoted string of the header does not end");
    std::string out = text_.substr(at_, end - at_);
    const bool plain = std::all_of(out.begin(), out.end(), [](char c) { return c >= ' ' && c <= '~'; });
    if (out.size() > 16 || !plain) fail("a string in the header is neither a key nor an element type");
    at_ = end + 1;
    return out;
  }

  void entry() {
    const std::string key = quoted();
    expect(':');
    if (key == "descr" && !header_.dtype) {
      read_descr();
    } else if (key == "fortran_order" && !header_.fortran_order) {
      const bool yes = accept_word("True");
      if (!yes && !accept_word("False")) fail("fortran_order is neither True nor False");
      header_.fortran_order = yes;
    } else if (key == "shape" && !header_.shape) {
      read_shape();
    } else {
      fail("a header key that is repeated or none of descr, fortran_order, shape");
    }
  }

  void read_descr() {
    if (accept('[')) fail("structured element types are not supported");
    const std::string descr = quoted();
    const auto found = std::find_if(kDTypes.begin(), kDTypes.end(), [&](const NamedDType& d) {
      return descr.size() == d.name.size() + 1 && descr.ends_with(d.name);
    });
    const bool one_byte = found != kDTypes.end() && dtype_bytes(found->dtype) == 1;
    const std::string_view orders = one_byte ? "|<>=" : "<>=";
    if (found == kDTypes.end() || orders.find(descr.front()) == orders.npos)
      fail(cat("element type '", descr, "' is not supported"));
    header_.dtype = found->dtype;
    header_.big_endian = descr.front() == '>';
  }

  void read_shape() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      if (shape.rank() == kMaxRank) fail(cat("more than ", kMaxRank, " dimensions"));
      shape.push_back(extent());
      if (accept(')')) break;
      expect(',');
    }
    header_.shape = shape;
  }

  Index extent() {
    skip_space();
    const std::size_t first = at_;
    Index value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      if (__builtin_mul_overflow(value, Index{10}, &value) || __builtin_add_overflow(value, text_[at_] - '0', &value))
        fail("an extent of the shape is too large");
    if (at_ == first) fail("expected an extent >= 0 in the shape");
    accept('L');  // Python 2 wrote its long integers like this
    return value;
  }

  const fs::path& path_;
  std::uint64_t begin_;
  const std::string& text_;
  std::size_t at_ = 0;
  Header header_;
};

Header read_header(const InputFile& file) {
  std::array<unsigned char, kVersionEnd> start{};
  file.read(0, std::as_writable_bytes(std::span(start)));
  if (!std::equal(kMagic.begin(), kMagic.end(), start.begin(), [](char a, unsigned char b) { return a == char(b); }))
    fail_format(file.path(), 0, "not an npy file: it does not begin with \\x93NUMPY");
  const int major = start[6], minor = start[7];
  if (major < 1 || major > 3 || minor != 0)
    fail_format(file.path(), kMagic.size(), cat("npy version ", major, ".", minor, ", expected 1.0, 2.0 or 3.0"));

  std::uint32_t length = 0;
  const std::uint64_t length_bytes = major == 1 ? 2 : 4;
  file.read(kVersionEnd, std::as_writable_bytes(std::span(&length, 1)).first(length_bytes));
  const std::uint64_t begin = kVersionEnd + length_bytes;
  if (length > kLargestHeader || length > file.size() - begin)
    fail_format(file.path(), kVersionEnd,
                cat("header of ", length, " bytes in a file of ", file.size(), " bytes (at most ", kLargestHeader,
                    " are accepted)"));
  std::string text(length, '\0');
  file.read(begin, std::as_writable_bytes(std::span(text)));
  Header header = HeaderParser(file.path(), begin, text).run();
  header.data_begin = begin + length;
  return header;
}

void check_size(const InputFile& file, const Header& header) {
  const std::uint64_t there = file.size() - header.data_begin;
  if (element_bytes(*header.shape, *header.dtype) != there)
    fail_format(file.path(), header.data_begin,
                cat(there, " bytes of elements do not fit shape ", *header.shape, " ", *header.dtype));
}

Shape reversed(const Shape& shape) {
  std::vector<Index> extents(shape.begin(), shape.end());
  std::reverse(extents.begin(), extents.end());
  return Shape(extents);
}

Tensor with_axes_reversed(Tensor t) {
  for (int d = 0; d < t.rank() / 2; ++d) t = t.transpose(d, t.rank() - 1 - d);
  return t.contiguous();
}

void swap_bytes(Tensor& t) {
  const std::size_t width = is_complex(t.dtype()) ? dtype_bytes(t.dtype()) / 2 : dtype_bytes(t.dtype());
  const std::size_t bytes = static_cast<std::size_t>(t.size()) * dtype_bytes(t.dtype());
  for (std::size_t i = 0; i < bytes; i += width) std::reverse(t.bytes() + i, t.bytes() + i + width);
}

std::string header_text(const Tensor& t) {
  const auto found = std::find_if(kDTypes.begin(), kDTypes.end(), [&](const auto& d) { return d.dtype == t.dtype(); });
  if (found == kDTypes.end()) throw DTypeError(cat("write_npy: ", t.dtype(), ", which the format does not have"));
  std::string shape;
  for (const Index extent : t.shape()) shape += cat(extent, ", ");
  if (t.rank() > 1) shape.resize(shape.size() - 2);  // (3, 4), but (3,)
  if (t.rank() == 1) shape.pop_back();
  std::string text = cat("{'descr': '", dtype_bytes(t.dtype()) == 1 ? '|' : '<', found->name,
                         "', 'fortran_order': False, 'shape': (", shape, "), }");
  const std::size_t before = kVersionEnd + 2;
  const std::size_t end = (before + text.size() + kAlignElements) / kAlignElements * kAlignElements;
  text.resize(end - before - 1, ' ');
  return text + '\n';
}

}  // namespace

Tensor read_npy(const fs::path& path) {
  const InputFile file(path);
  const Header header = read_header(file);
  check_size(file, header);
  Tensor out = empty(*header.fortran_order ? reversed(*header.shape) : *header.shape, *header.dtype, kCpu);
  read_elements(file, header.data_begin, out);
  if (header.big_endian) swap_bytes(out);
  return *header.fortran_order ? with_axes_reversed(out) : out;
}

void write_npy(const fs::path& path, const Tensor& tensor) {
  check_defined("write_npy", "tensor", tensor);
  const Tensor t = tensor.to(kCpu).contiguous();
  const std::string text = header_text(t);
  const auto length = static_cast<std::uint16_t>(text.size());

  AtomicFile out(path);
  out.write(kMagic);
  out.write(std::string_view("\x01\x00", 2));
  out.write(std::as_bytes(std::span(&length, 1)));
  out.write(text);
  out.write_elements(t);
  out.commit();
}

}  // namespace subquad
