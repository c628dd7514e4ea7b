# Writes FILE, a source that knows the commit of SOURCE, and leaves it alone where that is the same: a commit compiles this file
# and links the benchmarks, nothing else. GIVEN stands where there is no git.
cmake_minimum_required(VERSION 3.24)
set(commit "${GIVEN}")
find_program(git git)
if(NOT commit AND git)
  execute_process(
    COMMAND ${git} --no-optional-locks -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
    OUTPUT_VARIABLE commit
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT commit)
  set(commit unknown)
endif()
file(
  CONFIGURE
  OUTPUT ${FILE}
  CONTENT
    "#include \"subquad/bench/kernel/provenance.h\"

const char* subquad::bench::commit() {
  return \"@commit@\";
}
"
  @ONLY)
