// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "bpf/abi/twinstep_abi.h"
#include "context.hpp"
#include "core/session/message.hpp"
#include "image.hpp"

namespace twinstep::sim {

// Raw frames on the link, as the packet planes send them.
struct Mirrored {
  std::uint32_t epoch = 0;
  Packet packet;
};
struct SvmRecord {
  std::uint32_t epoch = 0;
  ts_record record{};
};
struct FlowDelta {
  std::uint32_t epoch = 0;
  compare::SetDelta delta;
};
struct Heartbeat {};
using RawFrame = std::variant<Mirrored, SvmRecord, FlowDelta, Heartbeat>;

/// A part of an image on the page stream.
struct PagePart {
  std::shared_ptr<const Image> image;
  std::size_t page = 0;
};

/// Who is at an end of the link.
class LinkEnd {
 public:
  virtual ~LinkEnd() = default;
  virtual void link_connected() = 0;
  virtual void link_disconnected(const std::string& reason) = 0;
  virtual void link_message(const session::Message& message) = 0;
  virtual void link_page(const PagePart& part) = 0;
  /// The peer ended the page stream.
  virtual void link_stream_ended() = 0;
  virtual void link_frame(const RawFrame& frame) = 0;
};

/// The link between the hosts: a connection for messages and one for pages, both in order and broken together, and raw
/// frames, which are delayed and lost but not reordered. While the link is cut, what is on a connection waits, as TCP's
/// does, until an end loses patience.
class Link {
 public:
  explicit Link(Context& context) : context_(context) {}
  void attach(HostIndex host, LinkEnd& end) { ends_[host] = &end; }

  void host_up(HostIndex host);
  /// silent: no packet tells the peer (power loss); else its kernel resets the connections.
  void host_down(HostIndex host, bool silent);
  void cut();
  void heal();
  bool is_cut() const { return cut_; }

  void send(HostIndex from, const session::Message& message);
  void send_page(HostIndex from, const PagePart& part);
  void end_stream(HostIndex from);
  void send_raw(HostIndex from, const RawFrame& frame);
  bool connected(HostIndex host) const { return open_[host]; }

 private:
  using Delivery = std::function<void(LinkEnd&)>;
  void post(HostIndex from, Delivery delivery);
  void deliver(std::uint64_t connection, HostIndex to, const Delivery& delivery);
  void lose_patience(HostIndex host, Nanos delay, bool only_if_cut);
  void close_end(HostIndex host, const std::string& reason);
  void connect_soon();

  Context& context_;
  std::array<LinkEnd*, 2> ends_{};
  std::array<bool, 2> up_{};
  std::array<bool, 2> open_{};
  std::array<Nanos, 2> arrival_{};  // of the latest thing posted by each end
  std::array<Nanos, 2> raw_arrival_{};
  std::array<std::deque<Delivery>, 2> waiting_;  // for each end, while the link is cut
  std::uint64_t connection_ = 0;
  bool cut_ = false;
};

}  // namespace twinstep::sim
