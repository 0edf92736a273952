# One interface target that every C++ target of the project links: warnings are errors, include root, sanitizers.
add_library(twinstep_options INTERFACE)
target_compile_options(twinstep_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast -Werror
  -fno-omit-frame-pointer)
target_include_directories(twinstep_options INTERFACE "${CMAKE_SOURCE_DIR}" "${CMAKE_SOURCE_DIR}/userspace")
if(TWINSTEP_SANITIZE)
  # GCC's maybe-uninitialized is false too often in instrumented code (its manual says so); the plain build has it.
  target_compile_options(twinstep_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -O1
    -Wno-maybe-uninitialized)
  target_link_options(twinstep_options INTERFACE -fsanitize=address,undefined)
endif()
