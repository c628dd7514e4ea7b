// NumPy's .npy format: a magic string, a version, a header that is a Python dictionary in text, the elements.
// Specification: NumPy reference, numpy.lib.format (NEP 1).
#pragma once

#include <filesystem>

#include "subquad/core/tensor.h"

namespace subquad {

// A contiguous CPU tensor. Versions 1.0, 2.0 and 3.0; both byte orders (big-endian elements are converted);
// fortran_order is transposed into rows. The file is not trusted: a broken or overlong header, an element type that is
// not ours (structured, strings, float16, ...; the message names it), a size that does not match the shape, a bool that
// is neither 0 nor 1 are a FormatError with path and byte offset. Error when the file cannot be opened.
Tensor read_npy(const std::filesystem::path& path);

// Version 1.0, this machine's byte order, row-major; any strides and device. Atomic (core/file.h). DTypeError for
// bfloat16, which the format does not have.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace subquad
