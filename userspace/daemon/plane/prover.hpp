// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "daemon/plane/link_sender.hpp"
#include "daemon/plane/port.hpp"
#include "io/tap/tap.hpp"

namespace twinstep::daemon {

/// Sends a frame through each way that a VM's frames take, and sees it come out: the kernel says nothing of a redirect
/// that fails. Its frames reach neither guest nor network. The plane's thread only.
class Prover {
 public:
  /// Takes what is there out of the sockets, and gives probes to on_probe().
  using Pump = std::function<void()>;

  Prover(Port& port, LinkSender& sender, const io::Tap& tap) : port_(port), sender_(sender), tap_(tap) {}

  /// Draws what the probes carry.
  Result<void> begin();
  bool is_probe(std::span<const std::byte> frame) const;
  /// One that came into a socket. from_link: with its encapsulation; the other host's is answered.
  void on_probe(std::span<const std::byte> frame, bool from_link);

  /// All ways within this host. The guest stands still. An Error names the way, and what may be done.
  Result<void> prove_host(const Pump& pump);
  /// There and back over the link, where the other host's plane is paired with this one: a small frame that the
  /// uplink's program mirrors, then the largest there is.
  Result<void> prove_link(const Pump& pump);
  /// What else lay in the tap during prove_host(), oldest first.
  std::vector<std::vector<std::byte>> take_unread() { return std::exchange(unread_, {}); }

 private:
  struct Way {
    std::string name;
    std::string remedy;
    std::uint32_t path = 0;  // enum ts_probe_path
    std::size_t bytes = 0;
    std::function<Result<void>(std::span<const std::byte>)> send;
    bool ends_in_tap = false;
    bool ends_at_uplink = false;
    bool by_redirect = false;  ///< from device to device; with Port::fragments() no frame goes this way
  };
  Result<void> prove(const Way& way, const Pump& pump);
  bool came(const Way& way, std::uint64_t out_before, const Pump& pump);
  void read_tap();
  std::vector<std::byte> make(std::uint32_t path, std::size_t bytes);
  std::vector<Way> ways_from_tap();
  std::vector<Way> ways_from_devices();
  std::size_t frame_bytes_max() const;

  Port& port_;
  LinkSender& sender_;
  const io::Tap& tap_;
  std::uint32_t sequence_ = 0;                       // of the latest probe
  std::optional<std::uint32_t> in_socket_, in_tap_;  // sequence of the latest that came out there
  std::vector<std::vector<std::byte>> unread_;
};

}  // namespace twinstep::daemon
