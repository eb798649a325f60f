# Writes the page into C++: serval_embed_web(TARGET) adds two generated sources to a target.
#   SERVAL_WEB=prebuilt  the committed page, web/dist (default; needs no Node)
#   SERVAL_WEB=build     npm builds it first, from web/src
#   SERVAL_WEB=off       no page: / answers 404
# assets.S takes each file's gzip by .incbin (3 MB cost 0.1 s; as numbers in C++ they would cost 10), assets.cpp is the
# table of src/server/web_assets.h. The second half of this file is that step, run at build time.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(SERVAL_WEB prebuilt CACHE STRING "The chat and monitor page: prebuilt, build or off")
  set_property(CACHE SERVAL_WEB PROPERTY STRINGS prebuilt build off)

  function(serval_embed_web target)
    set(web ${PROJECT_SOURCE_DIR}/web)
    set(out ${CMAKE_CURRENT_BINARY_DIR}/web)
    set(dist ${web}/dist)
    if(SERVAL_WEB STREQUAL "build")
      find_program(SERVAL_NPM npm REQUIRED)
      file(GLOB_RECURSE inputs CONFIGURE_DEPENDS ${web}/src/* ${web}/*.html ${web}/*.json ${web}/*.ts)
      list(FILTER inputs EXCLUDE REGEX "/(node_modules|dist)/")
      set(dist ${out}/dist)
      add_custom_command(OUTPUT ${out}/built DEPENDS ${inputs} WORKING_DIRECTORY ${web} VERBATIM
        COMMAND ${SERVAL_NPM} ci --ignore-scripts --no-audit --no-fund
        COMMAND ${SERVAL_NPM} run build -- --outDir ${dist} --emptyOutDir
        COMMAND ${CMAKE_COMMAND} -E touch ${out}/built COMMENT "Building the page")
      set(inputs ${out}/built)
    elseif(SERVAL_WEB STREQUAL "prebuilt")
      file(GLOB_RECURSE inputs CONFIGURE_DEPENDS ${dist}/*)
    elseif(SERVAL_WEB STREQUAL "off")
      set(dist "")
    else()
      message(FATAL_ERROR "SERVAL_WEB is ${SERVAL_WEB}; it may be prebuilt, build or off")
    endif()
    add_custom_command(OUTPUT ${out}/assets.S ${out}/assets.cpp VERBATIM
      DEPENDS ${inputs} ${PROJECT_SOURCE_DIR}/cmake/EmbedAssets.cmake
      COMMAND ${CMAKE_COMMAND} -D DIST=${dist} -D OUT=${out} -P ${PROJECT_SOURCE_DIR}/cmake/EmbedAssets.cmake)
    # The assembler reads files that no dependency scanner sees.
    set_source_files_properties(${out}/assets.S PROPERTIES OBJECT_DEPENDS ${out}/assets.cpp)
    target_sources(${target} PRIVATE ${out}/assets.S ${out}/assets.cpp)
  endfunction()
  return()
endif()

set(assembly ".section .note.GNU-stack,\"\",%progbits\n.section .rodata\n")
set(symbols "")
set(rows "")
set(count 0)
if(DIST)
  file(GLOB_RECURSE files RELATIVE ${DIST} ${DIST}/*)
  list(SORT files)
endif()
foreach(file IN LISTS files)
  file(SHA256 ${DIST}/${file} sha)
  set(packed ${OUT}/${sha}.gz)
  execute_process(COMMAND gzip -9nc ${DIST}/${file} OUTPUT_FILE ${packed} COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCH "[^.]*$" type ${file})
  set(type_html "text/html; charset=utf-8")
  set(type_js "text/javascript; charset=utf-8")
  set(type_css "text/css; charset=utf-8")
  set(type_svg "image/svg+xml")
  if(NOT DEFINED type_${type})
    message(FATAL_ERROR "${file}: no content type for .${type}")
  endif()
  set(name serval_web_asset_${count})
  string(APPEND assembly ".globl ${name}, ${name}_end\n${name}: .incbin \"${packed}\"\n${name}_end:\n")
  string(APPEND symbols "extern \"C\" const char ${name}[], ${name}_end[];\n")
  string(APPEND rows "    {\"/${file}\", \"${type_${type}}\", \"${sha}\", {${name}, ${name}_end}},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${OUT}/assets.S "${assembly}")
if(count EQUAL 0)
  set(body "std::span<const WebAsset> web_assets() { return {}; }")
else()
  set(body "const WebAsset kAssets[] = {\n${rows}};\n}  // namespace\n
std::span<const WebAsset> web_assets() { return kAssets; }")
  string(PREPEND body "namespace {\n")
endif()
file(WRITE ${OUT}/assets.cpp "// Made by cmake/EmbedAssets.cmake.
#include \"server/web_assets.h\"\n
${symbols}
namespace serval {
${body}\n
}  // namespace serval\n")
