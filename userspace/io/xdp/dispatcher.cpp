// SPDX-License-Identifier: Apache-2.0
#include "io/xdp/dispatcher.hpp"

#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <xdp/libxdp.h>

#include <climits>
#include <vector>

#include "io/netlink/netdev.hpp"
#include "io/os_error.hpp"
#include "io/xdp/device_programs.hpp"

namespace twinstep::io {
namespace {

/// Behind every other: libxdp runs smaller numbers first.
constexpr unsigned kPriority = INT_MAX;

struct CloseMultiprog {
  void operator()(xdp_multiprog* programs) const { xdp_multiprog__close(programs); }
};
using Multiprog = std::unique_ptr<xdp_multiprog, CloseMultiprog>;

struct CloseProgram {
  void operator()(xdp_program* program) const { xdp_program__close(program); }
};
using Program = std::unique_ptr<xdp_program, CloseProgram>;

/// The dispatcher on a device, or nothing.
Multiprog dispatcher_on(int ifindex) {
  quieten_libxdp();
  xdp_multiprog* found = xdp_multiprog__get_from_ifindex(ifindex);
  if (libxdp_get_error(found) != 0) return nullptr;
  Multiprog programs(found);
  return xdp_multiprog__is_legacy(found) ? nullptr : std::move(programs);
}

std::vector<xdp_program*> members(const xdp_multiprog* dispatcher) {
  std::vector<xdp_program*> all;
  for (auto* each = xdp_multiprog__next_prog(nullptr, dispatcher); each != nullptr;
       each = xdp_multiprog__next_prog(each, dispatcher))
    all.push_back(each);
  return all;
}

XdpMode mode_of(const xdp_multiprog* dispatcher) {
  return xdp_multiprog__attach_mode(dispatcher) == XDP_MODE_NATIVE ? XdpMode::native : XdpMode::generic;
}

xdp_attach_mode attach_mode(XdpMode mode) {
  return mode == XdpMode::native ? XDP_MODE_NATIVE : XDP_MODE_SKB;
}

/// A program in front that ends what it lets pass leaves nothing for Twinstep's.
Result<void> check_members(const xdp_multiprog* dispatcher, const std::string& device) {
  for (xdp_program* each : members(dispatcher))
    if (!xdp_program__chain_call_enabled(each, XDP_PASS))
      return fail("the XDP program " + std::string(xdp_program__name(each)) + " on " + device +
                  " hands on nothing of what it lets pass: load it with XDP_PASS among its chain call actions");
  return {};
}

/// libxdp's own, not loaded yet.
Result<Program> create(bpf_object* object, const char* name) {
  DECLARE_LIBXDP_OPTS(xdp_program_opts, options);
  options.obj = object;
  options.prog_name = name;
  xdp_program* created = xdp_program__create(&options);
  if (const long error = libxdp_get_error(created); error != 0)
    return fail_os(std::string("libxdp cannot use the program ") + name, static_cast<int>(-error));
  Program program(created);
  xdp_program__set_run_prio(created, kPriority);
  xdp_program__set_chain_call_enabled(created, XDP_PASS, true);
  return program;
}

}  // namespace

bool kernel_can_dispatch() {
  return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_EXT, nullptr) == 1;
}

std::optional<XdpMode> dispatcher_mode(int ifindex) {
  const auto dispatcher = dispatcher_on(ifindex);
  if (!dispatcher) return std::nullopt;
  return mode_of(dispatcher.get());
}

Result<std::unique_ptr<DispatchedProgram>> DispatchedProgram::join(bpf_object* object, const char* program,
                                                                   const std::string& device, int ifindex) {
  const auto dispatcher = dispatcher_on(ifindex);
  if (!dispatcher) return fail("libxdp's dispatcher on " + device + " is gone");
  if (auto checked = check_members(dispatcher.get(), device); !checked) return tl::unexpected(checked.error());
  auto created = create(object, program);
  if (!created) return tl::unexpected(created.error());
  const XdpMode mode = mode_of(dispatcher.get());
  if (const int error = xdp_program__attach(created->get(), ifindex, attach_mode(mode), 0); error != 0)
    return fail_os("libxdp's dispatcher on " + device + " cannot take the program " + program +
                       " in (the kernel, or this libxdp on it, can't); free the device, run: xdp-loader unload " +
                       device + " --all",
                   -error);
  return std::unique_ptr<DispatchedProgram>(new DispatchedProgram(created->release(), ifindex, mode));
}

DispatchedProgram::~DispatchedProgram() {
  xdp_program__detach(program_, ifindex_, attach_mode(mode_), 0);
  xdp_program__close(program_);
}

Result<void> leave_dispatcher(const std::string& program, const std::string& device) {
  const auto ifindex = device_index(device);
  if (!ifindex) return {};
  const auto dispatcher = dispatcher_on(*ifindex);
  if (!dispatcher) return {};
  for (xdp_program* each : members(dispatcher.get())) {
    if (program != xdp_program__name(each)) continue;
    if (const int error = xdp_program__detach(each, *ifindex, attach_mode(mode_of(dispatcher.get())), 0); error != 0)
      return fail_os(std::string("cannot take what an earlier twinstepd left out of libxdp's dispatcher on ")
                         .append(device)
                         .append("; run: xdp-loader unload ")
                         .append(device)
                         .append(" --all"),
                     -error);
    return {};
  }
  return {};
}

}  // namespace twinstep::io
