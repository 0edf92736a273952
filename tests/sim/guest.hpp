// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "content.hpp"
#include "core/time.hpp"
#include "packet.hpp"
#include "random.hpp"

namespace twinstep::sim {

/// A piece of the server's stream that answers one request.
struct Answer {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint32_t cookie = 0;
  bool refused = false;
};

/// One TCP connection as the guest's stack and server keep it. Positions count from the SYN, which has position 0.
struct Connection {
  std::uint32_t isn = 0;
  std::uint32_t client_isn = 0;
  bool established = false;

  std::uint64_t acked = 0;    ///< by the client
  std::uint64_t next = 0;     ///< to be sent
  std::uint64_t sent = 0;     ///< highest ever sent
  std::uint64_t written = 1;  ///< by the server
  bool closed = false;        ///< by the server: the FIN has position `written`
  std::uint16_t client_window = 0;
  std::vector<Answer> answers;
  Nanos retransmit_at = 0;  ///< 0: nothing is under way
  Nanos retransmit_ns = 0;

  std::uint64_t received = 1;
  std::uint64_t read = 1;  ///< by the server
  Bytes unread;
  bool client_closed = false;
  bool ack_due = false;
  Bytes request_head;
  Request request;
  std::uint32_t body_left = 0;
  bool body_wrong = false;
  std::uint32_t cookie = 0;  ///< of the latest answer

  std::uint64_t end() const { return written + (closed ? 1U : 0U); }
};

/// A part of the guest's RAM: what one part of an image on the link carries.
struct Page {
  std::uint64_t writes = 0;
  std::map<FlowKey, Connection> connections;
};

/// All of a guest that a checkpoint carries over. Copyable as it is.
struct GuestState {
  static constexpr std::size_t kPages = 6;
  std::array<Page, kPages> pages;
  std::uint64_t secret = 0;

  Page& page_of(const FlowKey& flow) { return pages[mix(flow.peer_port_be) % kPages]; }
  const Connection* find(const FlowKey& flow) const;
  /// Equal states have equal digests.
  std::uint64_t digest() const;
};

/// What differs between two hosts that run the same guest: time, scheduling, chance.
struct GuestEnvironment {
  Nanos clock = 0;
  Random& random;
  double clock_reply = 0;
};

/// The guest's TCP stack and server. It decides by its environment how to segment, when to acknowledge, and, rarely,
/// what to answer: two guests of one state drift apart as real ones do.
class Guest {
 public:
  GuestState state;

  /// A frame from the tap.
  void receive(const Packet& packet, GuestEnvironment& environment, std::vector<Packet>& out);
  /// The server's work, timers, sending. True: there is more to do at once.
  bool work(GuestEnvironment& environment, std::vector<Packet>& out);
  /// When a timer is due, in the guest's clock.
  std::optional<Nanos> next_timer() const;
};

}  // namespace twinstep::sim
