#include "subquad/core/npy.h"

#include <doctest/doctest.h>

#include <cstring>

#include "subquad/tests/core/fixtures.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using test::check_values;
using test::fixture;
using test::TemporaryFolder;

namespace {

std::string version_1(std::string_view header, std::string_view data = "") {
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xff);
  out += static_cast<char>(header.size() >> 8);
  return out.append(header).append(data);
}

std::string with_shape(std::string_view shape, std::string_view data = "1234") {
  return version_1(cat("{'descr': '<f4', 'fortran_order': False, 'shape': ", shape, "}"), data);
}

void check_refused(const std::string& content, const std::string& what) {
  const TemporaryFolder folder;
  const auto path = folder / "hostile.npy";
  test::write_text(path, content);
  CHECK_THROWS_WITH_AS(read_npy(path), doctest::Contains(what.c_str()), FormatError);
  CHECK_THROWS_WITH_AS(read_npy(path), doctest::Contains(cat(path.string(), ": byte ").c_str()), FormatError);
}

}  // namespace

TEST_CASE("npy reads what NumPy wrote") {
  check_values<float>(read_npy(fixture("float32.npy")), {2, 3}, {-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f});
  check_values<std::uint8_t>(read_npy(fixture("uint8.npy")), {4}, {0, 1, 2, 3});
  check_values<bool>(read_npy(fixture("bool.npy")), {3}, {true, false, true});
  check_values<std::int64_t>(read_npy(fixture("int64_scalar.npy")), {}, {1ll << 40});
  check_values<std::complex<double>>(read_npy(fixture("complex128.npy")), {1, 2}, {{1, 2}, {0, -3.5}});
  check_values<float>(read_npy(fixture("empty.npy")), {0, 4}, {});
  check_values<float>(read_npy(fixture("version_2.npy")), {2, 2}, {0, 1, 2, 3});
  check_values<float>(read_npy(fixture("version_3.npy")), {2, 2}, {0, 1, 2, 3});
}

TEST_CASE("npy converts big-endian elements") {
  check_values<std::int32_t>(read_npy(fixture("int32_big_endian.npy")), {3}, {-1, 0, 1});
  check_values<std::complex<float>>(read_npy(fixture("complex64_big_endian.npy")), {2}, {{1, 2}, {0, -3.5f}});
}

TEST_CASE("npy turns columns into rows") {
  std::vector<double> ramp(24);
  for (std::size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<double>(i);
  check_values<double>(read_npy(fixture("float64_fortran.npy")), {2, 3, 4}, ramp);
}

TEST_CASE("npy writes the same bytes as NumPy") {
  const TemporaryFolder folder;
  for (const char* name : {"float32.npy", "uint8.npy", "bool.npy", "int64_scalar.npy", "complex128.npy", "empty.npy"}) {
    CAPTURE(name);
    write_npy(folder / name, read_npy(fixture(name)));
    CHECK(test::read_text(folder / name) == test::read_text(fixture(name)));
  }
  const Tensor rows = tensor<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  write_npy(folder / "columns.npy", rows.transpose(0, 1));
  check_values<float>(read_npy(folder / "columns.npy"), {3, 2}, {1, 4, 2, 5, 3, 6});
}

TEST_CASE("npy names an element type that is not ours") {
  CHECK_THROWS_WITH_AS(read_npy(fixture("float16.npy")), doctest::Contains("element type '<f2' is not supported"),
                       FormatError);
  CHECK_THROWS_WITH_AS(read_npy(fixture("structured.npy")),
                       doctest::Contains("structured element types are not supported"), FormatError);
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(write_npy(folder / "a", zeros({1}, kBFloat16, kCpu)),
                       "write_npy: bfloat16, which the format does not have", DTypeError);
}

TEST_CASE("npy refuses truncated files") {
  const std::string whole = test::read_text(fixture("float32.npy"));
  for (std::size_t length = 0; length < whole.size(); length += 3) {
    CAPTURE(length);
    check_refused(whole.substr(0, length), "");
  }
  check_refused(whole + "x", "25 bytes of elements do not fit shape [2, 3] float32");
}

TEST_CASE("npy refuses hostile headers") {
  check_refused("PK\x03\x04 something else", "byte 0: not an npy file");
  check_refused(std::string("\x93NUMPY\x04\x00\x00\x00", 10), "npy version 4.0, expected 1.0, 2.0 or 3.0");
  check_refused(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12),
                "header of 4294967295 bytes in a file of 12 bytes");
  check_refused(version_1(""), "byte 10: expected { in the header");
  check_refused(version_1("{"), "expected a quoted string");
  check_refused(version_1("{}"), "the header needs descr, fortran_order and shape");
  check_refused(version_1("{'descr: 1}"), "a quoted string of the header does not end");
  check_refused(version_1("{'descr': '<f4', 'descr': '<f4'}"), "repeated or none of descr, fortran_order, shape");
  check_refused(version_1("{'strides': (1,)}"), "repeated or none of descr, fortran_order, shape");
  check_refused(version_1("{'fortran_order': 1}"), "fortran_order is neither True nor False");
  check_refused(version_1("{'descr': '<f4\n'}"), "a string in the header is neither a key nor an element type");
  check_refused(version_1("{'" + std::string(1000, 'x') + "'}"), "neither a key nor an element type");
  check_refused(version_1("{'descr': ''}"), "element type '' is not supported");
  check_refused(version_1("{'descr': '|f4'}"), "element type '|f4' is not supported");
  check_refused(version_1("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "1234"), "text behind");
}

TEST_CASE("npy refuses shapes that do not fit") {
  check_refused(with_shape("(-1,)"), "expected an extent >= 0");
  check_refused(with_shape("(1.0,)"), "expected , in the header");
  check_refused(with_shape("1"), "expected ( in the header");
  check_refused(with_shape("(1"), "expected , in the header");
  check_refused(with_shape("(1,1,1,1,1,1,1,1,1)"), "more than 8 dimensions");
  check_refused(with_shape("(9223372036854775808,)"), "an extent of the shape is too large");
  check_refused(with_shape("(4611686018427387905,)"), "4 bytes of elements do not fit shape");  // 4 modulo 2^64
  check_refused(with_shape("(2,)"), "4 bytes of elements do not fit shape [2] float32");
  check_refused(version_1("{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", std::string("\1\2", 2)),
                "bool is 2, expected 0 or 1");
}

TEST_CASE("npy takes spaces, any order of keys and Python 2's long integers") {
  const TemporaryFolder folder;
  test::write_text(folder / "a", version_1("{ \"shape\" : ( 1L , ) , 'fortran_order':True,'descr':'=f4' , }\n",
                                           std::string("\0\0\x80\x3f", 4)));
  check_values<float>(read_npy(folder / "a"), {1}, {1.0f});
}

TEST_CASE("npy: a full disk leaves the old file and no temporary") {
  const TemporaryFolder folder;
  write_npy(folder / "a.npy", zeros({3}, kFloat32, kCpu));
  const std::string before = test::read_text(folder / "a.npy");
  {
    const test::FullDisk limit(1024);
    CHECK_THROWS_AS(write_npy(folder / "a.npy", zeros({1000}, kFloat32, kCpu)), Error);
  }
  CHECK(test::read_text(folder / "a.npy") == before);
  CHECK_FALSE(std::filesystem::exists(folder / "a.npy.tmp"));
}
