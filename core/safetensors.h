// The safetensors format: 8 bytes (little-endian length of the header), a JSON header, then the elements of all tensors
// without gaps. One table: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {...}}.
// Specification: github.com/huggingface/safetensors, README "Format".
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "subquad/core/tensor.h"

namespace subquad {

struct SafetensorsFile {
  std::map<std::string, std::string> metadata;  // empty when the file has no __metadata__
  std::map<std::string, Tensor> tensors;        // ordered by name
};

// CPU tensors, contiguous. A dtype that is not ours becomes the next wider one that is, values kept: F16 -> float32;
// I8, I16, U16 -> int32; U32, U64 -> int64. Writing the result gives the wider dtype.
//
// Nothing in the file is trusted: a header that breaks the format or the limits of Tensor, any other dtype (F8_E4M3,
// ...; the message names it), ranges that overlap, leave a gap or do not match shape and dtype, a bool that is neither
// 0 nor 1, a U64 of 2^63 or more are a FormatError with path and byte offset. Memory use is bounded by the size of the
// file, four times that for I8. Error when the file cannot be opened.
SafetensorsFile read_safetensors(const std::filesystem::path& path);

// Atomic (core/file.h): on an Error the file that was there before is intact. The same content gives the same bytes.
// Any strides and device. DTypeError for complex128, which the format does not have; Error for a tensor that is named
// "__metadata__" and for text that is not UTF-8.
void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file);

}  // namespace subquad
