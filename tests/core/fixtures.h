// Files that Python wrote (tests/core/data/make_fixtures.py), and what they should read as.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::test {

inline std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(SUBQUAD_SOURCE_DIR) / "tests/core/data" / name;
}

template <class T>
void check_values(const Tensor& t, const Shape& shape, const std::vector<T>& values) {
  CHECK_EQ(t.shape(), shape);
  REQUIRE_EQ(t.dtype(), dtype_of<T>());
  REQUIRE(t.is_contiguous());
  REQUIRE_EQ(static_cast<std::size_t>(t.size()), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    CAPTURE(i);
    CHECK(t.data<T>()[i] == values[i]);
  }
}

}  // namespace subquad::test
