// The page as one file: what examples/inspect/page holds, put into the program when it is built, around the data.
#pragma once

#include <string>

#include "subquad/examples/inspect/parts.h"

namespace subquad::inspect {

// The whole HTML file. Texts that are no UTF-8 get replacement characters.
std::string page(const Json& data);

// The bytes that a page takes beside the cells of its pictures.
std::size_t bytes_beside(const Json& data_without_pictures);

}  // namespace subquad::inspect
