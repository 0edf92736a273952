# twinstep_library(NAME LIB...): the static library of all sources under the current directory.
function(twinstep_library name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC twinstep_options ${ARGN})
endfunction()
