// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace twinstep::io {

/// An XDP program on a device, whoever's.
struct DeviceProgram {
  std::uint32_t id = 0;  ///< the kernel's, as `bpftool prog` shows it
  std::string name;
};

/// The XDP programs on a device of the calling thread's network namespace, in the order in which they run: several if
/// libxdp's dispatcher is there. None if the kernel doesn't tell.
std::vector<DeviceProgram> device_programs(int ifindex);

/// libxdp's own words go to stderr by default; the result of a call says what the user must know.
void quieten_libxdp();

/// As in "xdp_pass (id 12)".
std::string to_string(const DeviceProgram& program);

}  // namespace twinstep::io
