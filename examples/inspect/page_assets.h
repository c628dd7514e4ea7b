// The files of examples/inspect/page as text; examples/CMakeLists.txt makes the source from them.
#pragma once

#include <string_view>

namespace subquad::inspect {

std::string_view page_style();    // style.css
std::string_view page_program();  // the scripts, in the order in which they need each other

}  // namespace subquad::inspect
