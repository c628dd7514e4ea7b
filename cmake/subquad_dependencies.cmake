# Finds every library the project uses; each is an imported target, none is vendored.
if(NOT SUBQUAD_CUDA MATCHES "^(AUTO|OFF|ON)$")
  message(FATAL_ERROR "SUBQUAD_CUDA is ${SUBQUAD_CUDA}, expected AUTO, OFF or ON")
endif()

# subquad_has_cuda: whether this build has CUDA kernels; subquad_cuda_found: what the summary says about it.
set(subquad_has_cuda OFF)
if(SUBQUAD_CUDA STREQUAL OFF)
  set(subquad_cuda_found "off: SUBQUAD_CUDA=OFF")
else()
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)  # code for both, and PTX of the second for newer ones
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED COMPONENTS cudart_static cublas)
    set(subquad_has_cuda ON)
    list(JOIN CMAKE_CUDA_ARCHITECTURES ", " architectures)
    set(subquad_cuda_found "nvcc ${CMAKE_CUDA_COMPILER_VERSION}, for ${architectures}, cuBLAS ${CUDAToolkit_VERSION}")
  elseif(SUBQUAD_CUDA STREQUAL ON)
    message(FATAL_ERROR "SUBQUAD_CUDA=ON, but no nvcc was found: put it on PATH or set CMAKE_CUDA_COMPILER")
  else()
    set(subquad_cuda_found "none: no nvcc was found (SUBQUAD_CUDA=AUTO)")
  endif()
endif()

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(hwy REQUIRED CONFIG)

# OpenBLAS is opened at run time by its path (kernels/blas), so only the header and the place of the library are needed.
find_path(SUBQUAD_OPENBLAS_INCLUDE cblas.h PATH_SUFFIXES x86_64-linux-gnu/openblas-openmp openblas-openmp REQUIRED)
find_library(SUBQUAD_OPENBLAS_LIBRARY NAMES libopenblas.so.0 openblas
             PATH_SUFFIXES x86_64-linux-gnu/openblas-openmp openblas-openmp REQUIRED)

find_package(nlohmann_json REQUIRED CONFIG)
if(SUBQUAD_EXAMPLES OR SUBQUAD_BENCH)
  find_package(CLI11 REQUIRED CONFIG)
endif()
if(SUBQUAD_TESTS)
  find_package(doctest REQUIRED CONFIG)
  if(SUBQUAD_SIMT)
    find_package(Boost REQUIRED COMPONENTS context)
  endif()
endif()
if(SUBQUAD_BENCH)
  find_package(benchmark QUIET CONFIG)
endif()
