// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/result.hpp"
#include "io/xdp/mode.hpp"

struct bpf_object;
struct xdp_program;

namespace twinstep::io {

/// Whether the kernel lets a program replace a function of another (BPF_PROG_TYPE_EXT), of which libxdp's dispatcher is
/// made. Needs root.
bool kernel_can_dispatch();

/// How libxdp's dispatcher on a device of the calling thread's network namespace runs. Nothing: there is none.
std::optional<XdpMode> dispatcher_mode(int ifindex);

/// A program in libxdp's dispatcher on a device, behind all that are there: it sees what they let pass. It is taken out
/// with the object, in whose thread's network namespace the device is. The kernel doesn't do that when the process
/// dies: see leave_dispatcher().
class DispatchedProgram {
 public:
  /// object: opened and not loaded, it is loaded here, with `program` alone. An Error says what may be done.
  static Result<std::unique_ptr<DispatchedProgram>> join(bpf_object* object, const char* program,
                                                         const std::string& device, int ifindex);
  ~DispatchedProgram();
  DispatchedProgram(const DispatchedProgram&) = delete;
  DispatchedProgram& operator=(const DispatchedProgram&) = delete;

  XdpMode mode() const { return mode_; }

 private:
  DispatchedProgram(xdp_program* program, int ifindex, XdpMode mode)
      : program_(program), ifindex_(ifindex), mode_(mode) {}

  xdp_program* program_;
  int ifindex_;
  XdpMode mode_;
};

/// Takes what an earlier process left of a program of this name out of the dispatcher on the device, and leaves the
/// others there. Nothing to take is no error.
Result<void> leave_dispatcher(const std::string& program, const std::string& device);

}  // namespace twinstep::io
