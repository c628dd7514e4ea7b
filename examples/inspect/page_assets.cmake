# cmake -DSTYLE=FILE -DSCRIPTS=FILE;FILE... -DOUT=FILE -P page_assets.cmake: a source with the page's files as text.
file(READ "${STYLE}" style)
set(program "")
foreach(script IN LISTS SCRIPTS)
  file(READ "${script}" text)
  string(APPEND program "${text}")
endforeach()
file(WRITE "${OUT}" "#include \"subquad/examples/inspect/page_assets.h\"\n
namespace subquad::inspect {\n
std::string_view page_style() {\n  return R\"page(${style})page\";\n}\n
std::string_view page_program() {\n  return R\"page(${program})page\";\n}\n
}  // namespace subquad::inspect\n")
