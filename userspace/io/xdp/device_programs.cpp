// SPDX-License-Identifier: Apache-2.0
#include "io/xdp/device_programs.hpp"

#include <xdp/libxdp.h>

#include <cstdarg>
#include <memory>

namespace twinstep::io {
namespace {

struct Close {
  void operator()(xdp_multiprog* programs) const { xdp_multiprog__close(programs); }
};

int no_print(libxdp_print_level, const char*, va_list) {
  return 0;
}

void add(std::vector<DeviceProgram>& all, const xdp_program* program) {
  if (program == nullptr) return;
  const char* name = xdp_program__name(program);
  all.push_back({xdp_program__id(program), name != nullptr ? name : ""});
}

}  // namespace

void quieten_libxdp() {
  libxdp_set_print(no_print);
}

std::vector<DeviceProgram> device_programs(int ifindex) {
  quieten_libxdp();
  std::vector<DeviceProgram> all;
  xdp_multiprog* found = xdp_multiprog__get_from_ifindex(ifindex);
  if (libxdp_get_error(found) != 0) return all;
  const std::unique_ptr<xdp_multiprog, Close> programs(found);
  add(all, xdp_multiprog__hw_prog(found));
  if (xdp_multiprog__is_legacy(found)) add(all, xdp_multiprog__main_prog(found));
  for (const auto* program = xdp_multiprog__next_prog(nullptr, found); program != nullptr;
       program = xdp_multiprog__next_prog(program, found))
    add(all, program);
  return all;
}

std::string to_string(const DeviceProgram& program) {
  return program.name + " (id " + std::to_string(program.id) + ")";
}

}  // namespace twinstep::io
