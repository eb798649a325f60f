# Installation: headers, the layers' static libraries and a CMake package, so that another project says
#   find_package(serval REQUIRED)
#   target_link_libraries(app PRIVATE serval::serval)
# The layers are exported one by one under serval::; serval::serval is the engine with all below it.
include(CMakePackageConfigHelpers)

# Every layer that the engine stands on, found by walking its links.
function(serval_collect_layers target result)
  set(found ${${result}})
  if(NOT target MATCHES "^serval_" OR target IN_LIST found)
    return()
  endif()
  list(APPEND found ${target})
  get_target_property(links ${target} INTERFACE_LINK_LIBRARIES)
  foreach(link IN LISTS links)
    serval_collect_layers("${link}" found)
  endforeach()
  set(${result} ${found} PARENT_SCOPE)
endfunction()
serval_collect_layers(serval_engine SERVAL_INSTALLED_LAYERS)

# Our warnings and sanitizers are not the users'.
foreach(property INTERFACE_COMPILE_OPTIONS INTERFACE_LINK_OPTIONS)
  get_target_property(ours serval_options ${property})
  if(ours)
    set_target_properties(serval_options PROPERTIES ${property} "$<BUILD_INTERFACE:${ours}>")
  endif()
endforeach()

add_library(serval_library INTERFACE)
target_link_libraries(serval_library INTERFACE serval_engine)
set_target_properties(serval_library PROPERTIES EXPORT_NAME serval)
target_include_directories(serval_options INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
add_library(serval::serval ALIAS serval_library)  # the same name for a parent's add_subdirectory

install(TARGETS serval_library ${SERVAL_INSTALLED_LAYERS} EXPORT serval
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/serval COMPONENT development)
install(DIRECTORY include/serval DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(EXPORT serval NAMESPACE serval:: FILE serval-targets.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/serval COMPONENT development)
configure_package_config_file(cmake/serval-config.cmake.in serval-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/serval)
write_basic_package_version_file(serval-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/serval-config.cmake
  ${PROJECT_BINARY_DIR}/serval-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/serval COMPONENT development)
if(TARGET serval)
  install(TARGETS serval RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
endif()

if(SERVAL_TESTS)
  # An installed copy serves another project; label "slow": it builds one.
  add_test(NAME package:find_package
    COMMAND ${CMAKE_COMMAND} -D BUILD=${PROJECT_BINARY_DIR} -D SOURCE=${PROJECT_SOURCE_DIR}
      -D COMPILER=${CMAKE_CXX_COMPILER} -P ${PROJECT_SOURCE_DIR}/tests/package/run.cmake)
  set_tests_properties(package:find_package PROPERTIES LABELS package TIMEOUT 300)
  add_test(NAME examples:run
    COMMAND ${CMAKE_COMMAND} -D EXAMPLES=${PROJECT_BINARY_DIR}/examples
      -P ${PROJECT_SOURCE_DIR}/tests/package/run_examples.cmake)
  set_tests_properties(examples:run PROPERTIES LABELS model TIMEOUT 300
    SKIP_REGULAR_EXPRESSION "no test models")
endif()
