#include "subquad/core/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "subquad/core/allocator.h"
#include "subquad/tests/core/fixtures.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using test::check_values;
using test::fixture;
using test::TemporaryFolder;

namespace {

// A file with this header, its length in front, and `data` behind.
std::string file_of(std::string_view header, std::string_view data = "") {
  const std::uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out.append(header).append(data);
}

// Two float32 of 4 bytes each, with these places in the 8 bytes of data.
std::string two_tensors(std::string_view first, std::string_view second) {
  return file_of(cat(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)", first,
                     R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)", second, "}}"),
                 "12345678");
}

std::string one_tensor(std::string_view dtype, std::string_view shape, std::string_view offsets,
                       std::string_view data = "1234") {
  return file_of(cat(R"({"w":{"dtype":)", dtype, R"(,"shape":)", shape, R"(,"data_offsets":)", offsets, "}}"), data);
}

// Reading this content must fail with FormatError "path: byte N: ...", whose text contains `what`.
void check_refused(const std::string& content, const std::string& what) {
  const TemporaryFolder folder;
  const auto path = folder / "hostile.safetensors";
  test::write_text(path, content);
  CAPTURE(what);
  reset_peak_memory();
  const std::size_t before = memory_stats().peak_bytes;
  try {
    read_safetensors(path);
    FAIL_CHECK("was accepted");
  } catch (const FormatError& error) {
    const std::string text = error.what();
    CAPTURE(text);
    CHECK(text.starts_with(cat(path.string(), ": byte ")));
    CHECK(text.find(what) != text.npos);
  }
  CHECK_LE(memory_stats().peak_bytes,
           before + content.size() + 64);  // a header cannot ask for more than the file holds
}

}  // namespace

TEST_CASE("safetensors reads what Python wrote") {
  const SafetensorsFile file = read_safetensors(fixture("every_dtype.safetensors"));
  CHECK_EQ(file.metadata, std::map<std::string, std::string>{{"format", "np"}, {"note", "tab\tand ü"}});
  CHECK_EQ(file.tensors.size(), 10);
  check_values<float>(file.tensors.at("f32"), {2, 3}, {-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f});
  check_values<double>(file.tensors.at("f64"), {3}, {0.0, 1.0 / 3, 2.0 / 3});
  check_values<std::int32_t>(file.tensors.at("i32"), {2, 2}, {0, -1, -2, -3});
  check_values<std::int64_t>(file.tensors.at("i64"), {2}, {1ll << 40, (1ll << 40) + 1});
  check_values<std::uint8_t>(file.tensors.at("u8"), {5}, {250, 251, 252, 253, 254});
  check_values<bool>(file.tensors.at("bool"), {3}, {true, false, true});
  check_values<std::complex<float>>(file.tensors.at("c64"), {2}, {{1, 2}, {-0.0f, -3.5f}});
  check_values<float>(file.tensors.at("scalar"), {}, {7.5f});
  check_values<float>(file.tensors.at("empty"), {0, 4}, {});
  check_values<float>(file.tensors.at("späße \"quoted\"\n"), {1}, {1.0f});

  const Tensor bf16 = read_safetensors(fixture("bfloat16.safetensors")).tensors.at("bf16");
  REQUIRE_EQ(bf16.dtype(), kBFloat16);
  check_values<float>(bf16.to(kFloat32), {3}, {1.0f, -2.5f, 0.0f});
  CHECK(read_safetensors(fixture("no_tensors.safetensors")).tensors.empty());
}

TEST_CASE("safetensors round trip") {
  const TemporaryFolder folder;
  const SafetensorsFile before = read_safetensors(fixture("every_dtype.safetensors"));
  write_safetensors(folder / "a.safetensors", before);
  const SafetensorsFile after = read_safetensors(folder / "a.safetensors");
  CHECK_EQ(after.metadata, before.metadata);
  REQUIRE_EQ(after.tensors.size(), before.tensors.size());
  for (const auto& [name, t] : before.tensors) {
    CAPTURE(name);
    const Tensor& back = after.tensors.at(name);
    CHECK_EQ(back.shape(), t.shape());
    CHECK_EQ(back.dtype(), t.dtype());
    const std::size_t bytes = static_cast<std::size_t>(t.size()) * dtype_bytes(t.dtype());
    CHECK((bytes == 0 || std::memcmp(back.bytes(), t.bytes(), bytes) == 0));
  }
  write_safetensors(folder / "b.safetensors", after);
  CHECK_EQ(test::read_text(folder / "a.safetensors"), test::read_text(folder / "b.safetensors"));
}

TEST_CASE("safetensors writes strided tensors row by row") {
  const TemporaryFolder folder;
  const Tensor rows = tensor<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  write_safetensors(folder / "t",
                    {{}, {{"columns", rows.transpose(0, 1)}, {"spread", zeros({1}, kFloat32, kCpu).expand({3})}}});
  const SafetensorsFile file = read_safetensors(folder / "t");
  check_values<float>(file.tensors.at("columns"), {3, 2}, {1, 4, 2, 5, 3, 6});
  check_values<float>(file.tensors.at("spread"), {3}, {0, 0, 0});
}

TEST_CASE("safetensors widens the dtypes that are not ours") {
  const auto tensors = read_safetensors(fixture("narrow_dtypes.safetensors")).tensors;
  check_values<float>(
      tensors.at("f16"), {2, 4},
      {1, -2.5, 65504, -0x1p-14f, 0x1p-24f, -1023 * 0x1p-24f, 0, std::numeric_limits<float>::infinity()});
  CHECK(std::signbit(tensors.at("f16").data<float>()[6]));
  CHECK(std::isnan(tensors.at("f16 nan").item<float>()));
  check_values<float>(tensors.at("f16 empty"), {2, 0}, {});
  check_values<std::int32_t>(tensors.at("i8"), {3}, {-128, -1, 127});
  check_values<std::int32_t>(tensors.at("i16"), {2}, {-32768, 32767});
  check_values<std::int32_t>(tensors.at("u16"), {2}, {0, 65535});
  check_values<std::int64_t>(tensors.at("u32"), {3}, {0, 4294967295, 7});
  check_values<std::int64_t>(tensors.at("u64"), {2}, {0, std::numeric_limits<std::int64_t>::max()});

  const TemporaryFolder folder;
  write_safetensors(folder / "wide", {{}, tensors});
  check_values<std::int32_t>(read_safetensors(folder / "wide").tensors.at("i8"), {3}, {-128, -1, 127});
}

TEST_CASE("safetensors names a dtype or a value that has no wider one here") {
  CHECK_THROWS_WITH_AS(read_safetensors(fixture("float8.safetensors")),
                       doctest::Contains("tensor \"f8\": dtype \"F8_E4M3\" is not supported"), FormatError);
  const auto path = fixture("large_u64.safetensors");
  const std::size_t second = test::read_text(path).size() - 8;
  CHECK_THROWS_WITH_AS(
      read_safetensors(path),
      cat(path.string(), ": byte ", second, ": tensor \"counts\": a U64 that does not fit int64").c_str(), FormatError);
}

TEST_CASE("safetensors refuses truncated files") {
  const std::string whole = test::read_text(fixture("every_dtype.safetensors"));
  check_refused("", "byte 0: the file ends inside the header's length, 8 bytes expected");
  check_refused(whole.substr(0, 7), "byte 7: the file ends inside the header's length");
  check_refused(whole.substr(0, 8), "header of 656 bytes in a file of 8 bytes");
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    CAPTURE(length);
    check_refused(whole.substr(0, length), "");
  }
}

TEST_CASE("safetensors refuses hostile headers") {
  check_refused(file_of("") + "x", "byte 8: the header does not begin with {");
  check_refused(std::string(8, '\xff') + "{}", "header of 18446744073709551615 bytes in a file of 10 bytes");
  check_refused(file_of(" {}"), "the header does not begin with {");
  check_refused(file_of("{"), "byte 9: the header is not JSON");
  check_refused(file_of("{} x"), "the header is not JSON");
  check_refused(file_of(std::string("{}\0{}", 5)), "byte 11: text behind the end of the header");
  check_refused(file_of("{\"\xc3\x28\":1}"), "ill-formed UTF-8 byte");
  check_refused(file_of("{\"a\":" + std::string(1'000'000, '[')), "an array is not allowed here");
  check_refused(file_of("{\"a\":" + std::string(1'000'000, '{')), "the header is not JSON");
  check_refused(file_of("{\"a\":{\"dtype\":{\"dtype\":{}}}}"), "tensor \"a\": an object is not allowed here");
  check_refused(file_of(R"({"a":null})"), "null is not allowed here");
  check_refused(file_of(R"({"a":true})"), "true or false is not allowed here");
  check_refused(file_of(R"({"a":1})"), "number 1 is not allowed here");
  check_refused(file_of(R"({"a":"F32"})"), "a string is not allowed here");
  check_refused(file_of(R"({"a":{}})"), "tensor \"a\": needs dtype, shape and two data_offsets");
  check_refused(file_of(R"({"a":{"dtype":"F32","dtype":"F32"}})"), "tensor \"a\": a second dtype");
  check_refused(file_of(R"({"a":{"shape":[],"shape":[]}})"), "tensor \"a\": a second shape");
  check_refused(file_of(R"({"a":{"data_offsets":[0,0],"data_offsets":[0,0]}})"), "tensor \"a\": a second data_offsets");
  check_refused(file_of(R"({"a":{"stride":[1]}})"), R"(key "stride" is none of dtype, shape, data_offsets)");
  check_refused(file_of(R"({"__metadata__":{"a":1}})"), "number 1 is not allowed here");
  check_refused(file_of(R"({"__metadata__":{"a":"1","a":"2"}})"), "a second metadata key \"a\"");
  check_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})"), "a second __metadata__");
  check_refused(file_of(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}})"),
                "tensor \"a\": a second tensor of this name");
}

TEST_CASE("safetensors: what a file makes long, a message cuts") {
  const TemporaryFolder folder;
  test::write_text(folder / "a", file_of("{\"" + std::string(1'000'000, 'x') + "\":1}"));
  try {
    read_safetensors(folder / "a");
    FAIL_CHECK("was accepted");
  } catch (const FormatError& error) {
    CHECK_LT(std::strlen(error.what()), 400 + (folder / "a").string().size());
  }
}

TEST_CASE("safetensors refuses shapes and ranges that do not fit") {
  check_refused(one_tensor(R"("F32")", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), "more than 8 dimensions");
  check_refused(one_tensor(R"("F32")", "[-1]", "[0,4]"), "negative number -1");
  check_refused(one_tensor(R"("F32")", "[1.0]", "[0,4]"), "number 1.0 is no size");
  check_refused(one_tensor(R"("F32")", "[18446744073709551616]", "[0,4]"), "number 18446744073709551616 is no size");
  check_refused(one_tensor(R"("F32")", "[9223372036854775808]", "[0,4]"), "number 9223372036854775808 too large");
  check_refused(one_tensor(R"("F32")", "[2]", "[0,4]"), "data_offsets [0, 4] do not fit shape [2] F32");
  check_refused(one_tensor(R"("F64")", "[1]", "[0,4]"), "data_offsets [0, 4] do not fit shape [1] F64");
  check_refused(one_tensor(R"("F16")", "[1]", "[0,4]"), "data_offsets [0, 4] do not fit shape [1] F16");
  check_refused(one_tensor(R"("I8")", "[4611686018427387904,0]", "[0,0]", ""), "do not fit shape");  // 2^64 as int32
  // 4 * 2^31 * 2^31 * 2^2 = 2^66 and 4 * (2^62 + 1) = 4 modulo 2^64
  check_refused(one_tensor(R"("F32")", "[2147483648,2147483648,4]", "[0,0]", ""), "do not fit shape");
  check_refused(one_tensor(R"("F32")", "[4611686018427387905]", "[0,4]"), "do not fit shape");
  check_refused(one_tensor(R"("F32")", "[9223372036854775807,0]", "[0,0]", ""), "do not fit shape");
  check_refused(one_tensor(R"("F32")", "[1]", "[0,8]"), "are not a range within the 4 bytes of data");
  check_refused(one_tensor(R"("F32")", "[1]", "[4,0]"), "are not a range within the 4 bytes of data");
  check_refused(one_tensor(R"("F32")", "[1]", "[0,4,4]"), "number 4 is not allowed here");
  check_refused(one_tensor(R"("F32")", "[1]", "[0]"), "needs dtype, shape and two data_offsets");
  check_refused(one_tensor(R"("F32")", "[1]", "[0,4]", "12345"), "1 bytes at the end belong to no tensor");
  check_refused(one_tensor(R"("BOOL")", "[4]", "[0,4]", std::string("\0\1\2\0", 4)), "bool is 2, expected 0 or 1");
  check_refused(two_tensors("[0,4]", "[0,4]"), "tensor \"b\": data_offsets begin at 0, expected 4: ranges overlap");
  check_refused(two_tensors("[4,8]", "[2,6]"), "tensor \"b\": data_offsets begin at 2, expected 0: ranges leave a gap");
  check_refused(two_tensors("[0,4]", "[3,7]"), "tensor \"b\": data_offsets begin at 3, expected 4: ranges overlap");
}

TEST_CASE("safetensors: an extent of 0 makes the others harmless") {
  const TemporaryFolder folder;
  test::write_text(folder / "t", one_tensor(R"("F32")", "[4294967296,0,256]", "[0,0]", ""));
  CHECK_EQ(read_safetensors(folder / "t").tensors.at("w").size(), 0);
}

TEST_CASE("safetensors: what cannot be opened or written is an Error") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(read_safetensors(folder / "none"),
                       cat("cannot open ", (folder / "none").string(), ": No such file or directory").c_str(), Error);
  CHECK_THROWS_WITH_AS(read_safetensors(folder.path()), doctest::Contains("it is not a regular file"), Error);
  CHECK_THROWS_WITH_AS(read_safetensors("/dev/zero"), "cannot read /dev/zero: it is not a regular file", Error);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "none/a", {}), doctest::Contains("No such file or directory"), Error);
  CHECK_THROWS_WITH_AS(write_safetensors(folder.path(), {}), doctest::Contains("is not a regular file"), Error);
  CHECK_THROWS_WITH_AS(write_safetensors("/dev/full", {}),
                       "cannot write /dev/full: it exists and is not a regular file", Error);
}

TEST_CASE("safetensors refuses to write what the format does not have") {
  const TemporaryFolder folder;
  const Tensor one = zeros({1}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "a", {{}, {{"w", zeros({1}, kComplex128, kCpu)}}}),
                       "write_safetensors: tensor w is complex128, which the format does not have", DTypeError);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "a", {{}, {{"__metadata__", one}}}),
                       "write_safetensors: a tensor cannot be named __metadata__", Error);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "a", {{}, {{"\xff", one}}}), doctest::Contains("is not UTF-8"),
                       Error);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "a", {{{"note", "\xff"}}, {}}), doctest::Contains("is not UTF-8"),
                       Error);
  CHECK_THROWS_AS(write_safetensors(folder / "a", {{}, {{"w", Tensor()}}}), Error);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("safetensors: a full disk leaves the old file and no temporary") {
  const TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  write_safetensors(path, {{{"step", "1"}}, {{"w", full({10}, 1, kFloat32, kCpu)}}});
  const std::string before = test::read_text(path);
  std::string message;
  {
    const test::FullDisk limit(4096);
    try {
      write_safetensors(path, {{{"step", "2"}}, {{"w", full({10'000}, 2, kFloat32, kCpu)}}});
    } catch (const Error& error) {
      message = error.what();
    }
  }
  CHECK_EQ(message, cat("cannot write ", path.string(), ": File too large"));
  CHECK_EQ(test::read_text(path), before);
  CHECK_FALSE(std::filesystem::exists(folder / "model.safetensors.tmp"));
}
