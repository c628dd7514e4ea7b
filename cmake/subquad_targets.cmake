# How the project's targets are made. Includes are spelled "subquad/core/tensor.h" here as after an install: the build tree
# holds a link of that name to the source folder.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_BINARY_DIR}/include/subquad SYMBOLIC)

# Flags that every target of ours shares; never global, never -march=native (SIMD is chosen at run time).
add_library(subquad_flags INTERFACE)
target_compile_features(subquad_flags INTERFACE cxx_std_20)
set(warnings -Wall -Wextra -Wshadow)
target_compile_options(
  subquad_flags
  INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${warnings};-Wpedantic;-fno-math-errno;-ffp-contract=off>"
            "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;-Wno-deprecated-gpu-targets;-lineinfo>"
            "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow>"
            "$<$<AND:$<BOOL:${SUBQUAD_WERROR}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>"
            "$<$<AND:$<BOOL:${SUBQUAD_WERROR}>,$<COMPILE_LANGUAGE:CUDA>>:-Werror=all-warnings;-Xcompiler=-Werror;-Xptxas=-warn-spills,-Werror>")
if(SUBQUAD_SANITIZE)
  target_compile_options(subquad_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
                                                 -fno-omit-frame-pointer
                                                 -Wno-maybe-uninitialized)  # g++ 12 sees ghosts in its own <regex>
  target_link_options(subquad_flags INTERFACE -fsanitize=address,undefined)
endif()

# subquad_library(core DEPENDS ... PRIVATE ...): one floor of the house. Every .cpp below the folder belongs to it, so adding
# a primitive edits no list; in a build with CUDA so do the .cu files and what lies in a folder called cuda.
function(subquad_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;PRIVATE" ${ARGN})
  if(subquad_has_cuda)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cpp *.cu)
  else()
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cpp)
    list(FILTER sources EXCLUDE REGEX "/cuda/")
  endif()
  add_library(subquad_${name} STATIC ${sources})
  add_library(subquad::${name} ALIAS subquad_${name})
  set_target_properties(subquad_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_compile_features(subquad_${name} PUBLIC cxx_std_20)
  target_include_directories(subquad_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/include>
                                                    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(subquad_${name} PUBLIC ${ARG_DEPENDS} PRIVATE $<BUILD_INTERFACE:subquad_flags> ${ARG_PRIVATE})
  if(subquad_has_cuda)
    target_compile_definitions(subquad_${name} PRIVATE SUBQUAD_CUDA)
  endif()
endfunction()

# subquad_program(train_lra SOURCES ... DEPENDS ...)
function(subquad_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE subquad_flags ${ARG_DEPENDS})
  set_property(GLOBAL APPEND PROPERTY subquad_programs ${name})
endfunction()

function(subquad_summary)
  get_property(programs GLOBAL PROPERTY subquad_programs)
  list(JOIN programs " " programs)
  message(STATUS "subquad ${PROJECT_VERSION}, ${CMAKE_BUILD_TYPE}, ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
  message(STATUS "  OpenBLAS   ${SUBQUAD_OPENBLAS_LIBRARY} (opened at run time)")
  message(STATUS "  Highway    ${hwy_VERSION}")
  message(STATUS "  OpenMP     ${OpenMP_CXX_VERSION}")
  message(STATUS "  CUDA       ${subquad_cuda_found}")
  message(STATUS "  CUDA kernels on the CPU, for tests: ${SUBQUAD_SIMT}")
  message(STATUS "  warnings as errors ${SUBQUAD_WERROR}, sanitizers ${SUBQUAD_SANITIZE}, tests ${SUBQUAD_TESTS}")
  message(STATUS "  programs   ${programs}")
endfunction()
