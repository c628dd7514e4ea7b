// The cyclic redundancy check of iSCSI (RFC 3720, section 12.1), polynomial 0x1EDC6F41, which TensorBoard's files use.
#pragma once

#include <cstdint>
#include <string_view>

namespace subquad::lra {

std::uint32_t crc32c(std::string_view bytes);

}  // namespace subquad::lra
