# Finds every library the project uses; each is an imported target, none is vendored.
if(NOT SUBQUAD_CUDA MATCHES "^(AUTO|OFF|ON)$")
  message(FATAL_ERROR "SUBQUAD_CUDA is ${SUBQUAD_CUDA}, expected AUTO, OFF or ON")
elseif(SUBQUAD_CUDA STREQUAL ON)
  message(FATAL_ERROR "SUBQUAD_CUDA=ON: this version has no CUDA kernels; use AUTO or OFF for the CPU build")
endif()

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(hwy REQUIRED CONFIG)

# OpenBLAS is opened at run time by its path (kernels/blas), so only the header and the place of the library are needed.
find_path(SUBQUAD_OPENBLAS_INCLUDE cblas.h PATH_SUFFIXES x86_64-linux-gnu/openblas-openmp openblas-openmp REQUIRED)
find_library(SUBQUAD_OPENBLAS_LIBRARY NAMES libopenblas.so.0 openblas
             PATH_SUFFIXES x86_64-linux-gnu/openblas-openmp openblas-openmp REQUIRED)

find_package(nlohmann_json REQUIRED CONFIG)
if(SUBQUAD_EXAMPLES)
  find_package(CLI11 REQUIRED CONFIG)
endif()
if(SUBQUAD_TESTS)
  find_package(doctest REQUIRED CONFIG)
endif()
if(SUBQUAD_BENCH)
  find_package(benchmark REQUIRED CONFIG)
endif()
