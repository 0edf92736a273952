// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "io/unique_fd.hpp"
#include "packets.hpp"

namespace twinstep::test {

/// Three network namespaces that are gone with the object: hosts a and b, each with an uplink `up` into one switch and
/// a link `link0` to the other, and the switch with the client at it.
class NetLab {
 public:
  struct Options {
    unsigned queues = 1;  ///< of every device, each way
    unsigned mtu = 1500;  ///< of uplinks and client; the link's is a little larger
    bool sysfs = false;   ///< in() finds the host's devices in /sys
  };
  explicit NetLab(const Options& options);
  ~NetLab();
  NetLab(const NetLab&) = delete;
  NetLab& operator=(const NetLab&) = delete;

  /// Why the lab could not be built, or empty.
  const std::string& failure() const { return failure_; }

  /// Runs `work` in a host's namespace. host: 'a', 'b', or 's' for the switch. Threads that it starts stay there.
  void in(char host, const std::function<void()>& work) const;

  /// Runs a shell command in a host's namespace; throws if it fails.
  void run_on(char host, const std::string& command) const;

  /// Runs a command in a host's namespace. Returns whether it succeeds.
  bool succeeds(char host, const std::string& command) const;

  /// Moves a device of this process's namespace into a host's, by a new name.
  void move_in(char host, const std::string& device, const std::string& new_name);

  /// Gives host a's `device` and the client an IPv4 address each.
  void give_addresses(const std::string& device);
  /// The kernel of host a sends a datagram to the client's, and gets one back.
  bool stacks_reach_each_other() const;

  /// The client speaks and listens on a device of the switch's namespace from here on, `client` at first.
  void be_client_on(const std::string& device);
  /// The client's side of the wire, frame by frame.
  void client_send(const Bytes& frame) const;
  /// The next frame of a VM that the client gets within `patience`.
  std::optional<Bytes> client_receive(std::chrono::milliseconds patience = std::chrono::seconds(2),
                                      const Mac& source = kVmMac) const {
    return client_receive_any(std::span(&source, 1), patience);
  }
  /// The same of a VM with any of these addresses.
  std::optional<Bytes> client_receive_any(std::span<const Mac> sources,
                                          std::chrono::milliseconds patience = std::chrono::seconds(2)) const;

 private:
  std::string name(char host) const;
  void run(const std::string& command);

  std::string prefix_;
  bool sysfs_;
  std::string failure_;
  io::UniqueFd client_;
};

}  // namespace twinstep::test
