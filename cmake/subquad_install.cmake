# Install tree and package file: find_package(subquad) gives subquad::core ... subquad::nn.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/subquad)
install(TARGETS subquad_core subquad_kernels subquad_autograd subquad_nn EXPORT subquad_targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT subquad_targets NAMESPACE subquad:: DESTINATION ${package_dir})
# Contracts only: what the kernels share among themselves (kernels/simd, cpu.h) needs Highway and stays here.
foreach(folder core kernels autograd nn)
  install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/subquad
          FILES_MATCHING PATTERN "*.h" PATTERN "*-inl.h" EXCLUDE PATTERN cpu.h EXCLUDE PATTERN cuda.h EXCLUDE
          PATTERN simd EXCLUDE PATTERN cuda EXCLUDE)
endforeach()
configure_package_config_file(${CMAKE_CURRENT_SOURCE_DIR}/cmake/subquad-config.cmake.in
                              ${CMAKE_BINARY_DIR}/subquad-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/subquad-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/subquad-config.cmake ${CMAKE_BINARY_DIR}/subquad-config-version.cmake
        DESTINATION ${package_dir})
