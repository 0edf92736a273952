// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "content.hpp"
#include "context.hpp"
#include "packet.hpp"

namespace twinstep::sim {

/// A client on the network: opens TCP connections, uploads and downloads on them, checks every byte, and goes on
/// whatever happens to the hosts. It also sends datagrams, and in some runs SYNs of connections that nobody opens. A
/// wrong byte or a reset is a violation of I1, a stream that stands still for too long one of I4.
class Client {
 public:
  using Send = std::function<void(const Packet&)>;
  Client(Context& context, Send send);

  /// Draws what this run's client does and begins.
  void start();
  void receive(const Packet& packet);
  /// Nothing is left to do.
  bool done() const;
  /// A stream that has waited for the server longer than `limit`, counted from `since` at the earliest; empty: none
  /// has.
  std::string stuck(Nanos since, Nanos limit) const;
  /// The VM is lost by more faults than the design can survive: judge no more.
  void disable() { enabled_ = false; }

 private:
  enum class State : std::uint8_t { planned, opening, open, over };
  struct Stream {
    FlowKey flow;
    State state = State::planned;
    std::uint32_t isn = 0;
    std::uint32_t server_isn = 0;
    // What this side sends; positions count from its SYN, which has position 0.
    Bytes out;
    std::uint64_t acked = 0;
    std::uint64_t next = 0;
    bool closed = false;
    std::uint16_t server_window = 0;
    Nanos retransmit_ns = 0;
    std::uint64_t timer = 0;  ///< a timer of an older number is void
    bool timer_runs = false;
    // What it gets.
    std::uint64_t received = 0;
    std::map<std::uint64_t, std::byte> early;
    std::optional<std::uint64_t> server_fin;
    // The dialogue.
    int requests_left = 0;
    std::uint32_t cookie = 0;
    std::uint32_t cookie_left = 0;
    std::uint32_t reply_left = 0;
    Nanos progress_at = 0;

    std::uint64_t end() const { return 1 + out.size() + (closed ? 1U : 0U); }
    bool waits() const {
      return state == State::opening || (state == State::open && (acked < end() || cookie_left + reply_left > 0));
    }
  };

  void open(Stream& stream);
  void request(Stream& stream);
  void transmit(Stream& stream);
  void emit(const Stream& stream, std::uint64_t position, std::size_t bytes, std::uint8_t flags);
  void arm(Stream& stream);
  void receive_tcp(Stream& stream, const Packet& packet);
  void receive_datagram(const Packet& packet);
  void take_ack(Stream& stream, const Packet& packet);
  void take_data(Stream& stream, const Packet& packet);
  void check(Stream& stream, std::byte byte);
  void finish_if_over(Stream& stream);
  void fail(const Stream& stream, const std::string& what);
  void send_datagram();
  void send_as_stranger();

  Context& context_;
  Send send_;
  bool enabled_ = true;
  std::vector<Stream> streams_;
  int strangers_left_ = 0;
  int datagrams_left_ = 0;
  std::uint32_t datagram_ = 0;
};

}  // namespace twinstep::sim
