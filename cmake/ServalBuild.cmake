# Build rules shared by every folder.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()
# Assertions of ours are SERVAL_CHECK, alive in every build; NDEBUG only silences other people's.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
# The sanitizers' build type: fast to build, line numbers in reports, the standard library's own checks.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1 -D_GLIBCXX_ASSERTIONS")

find_program(SERVAL_CCACHE ccache)
if(SERVAL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Paths relative to the source folder, so that another clone finds the same objects.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${SERVAL_CCACHE})
endif()

add_library(serval_options INTERFACE)
target_include_directories(serval_options INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
target_compile_options(serval_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror=return-type
  -fstack-protector-strong -ffp-contract=off)
if(SERVAL_SANITIZE)
  target_compile_options(serval_options INTERFACE
    -fsanitize=${SERVAL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(serval_options INTERFACE -fsanitize=${SERVAL_SANITIZE})
else()
  target_compile_options(serval_options INTERFACE $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
endif()

# Every layer's test program; what the sanitizer builds need.
if(SERVAL_TESTS)
  add_custom_target(unit_tests)
endif()

# serval_layer(NAME [DEPENDS target...] [TEST_DEPENDS target...])
# One folder, one target: a static library serval_NAME of every *.cpp here (and in subfolders without a
# CMakeLists.txt of their own), and a test program NAME_test of every *_test.cpp. A folder with headers only
# becomes an interface library.
function(serval_layer name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;TEST_DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} *.cpp)
  file(GLOB_RECURSE nested CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CMakeLists.txt)
  foreach(list_file IN LISTS nested)
    get_filename_component(folder ${list_file} DIRECTORY)
    if(folder)
      list(FILTER sources EXCLUDE REGEX "^${folder}/")
    endif()
  endforeach()
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  if(sources)
    add_library(serval_${name} STATIC ${sources})
    target_link_libraries(serval_${name} PUBLIC serval_options ${ARG_DEPENDS})
  else()
    add_library(serval_${name} INTERFACE)
    target_link_libraries(serval_${name} INTERFACE serval_options ${ARG_DEPENDS})
  endif()
  if(SERVAL_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE serval_${name} ${ARG_TEST_DEPENDS} GTest::gtest_main GTest::gmock)
    add_dependencies(unit_tests ${name}_test)
    gtest_discover_tests(${name}_test TEST_PREFIX ${name}: DISCOVERY_TIMEOUT 60 PROPERTIES LABELS unit)
  endif()
endfunction()
