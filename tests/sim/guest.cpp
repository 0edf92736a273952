// SPDX-License-Identifier: Apache-2.0
#include "guest.hpp"

#include <algorithm>
#include <cstring>

namespace twinstep::sim {
namespace {

constexpr std::uint64_t kReceiveWindow = 8192;
constexpr Nanos kRetransmitMin = 80 * kMillisecond;
constexpr Nanos kRetransmitMax = 400 * kMillisecond;
constexpr std::uint64_t kSegmentMin = 100;
constexpr std::uint64_t kSegmentMax = 1400;
constexpr int kSegmentsPerTurn = 3;

/// One connection at work: joins its state with the environment and the way out.
class Stack {
 public:
  Stack(const FlowKey& flow, Connection& connection, GuestEnvironment& environment, std::vector<Packet>& out)
      : flow_(flow), c_(connection), environment_(environment), out_(out) {}

  void take_ack(const Packet& packet) {
    const std::uint32_t expected = c_.isn + static_cast<std::uint32_t>(c_.acked);
    const auto ahead = static_cast<std::int32_t>(packet.ack - expected);
    if (ahead < 0) return;
    if (c_.acked + static_cast<std::uint32_t>(ahead) > c_.sent) {
      c_.ack_due = true;
      return;
    }
    c_.client_window = packet.window;
    if (ahead == 0) return;
    c_.acked += static_cast<std::uint32_t>(ahead);
    c_.next = std::max(c_.next, c_.acked);
    c_.established = true;
    c_.retransmit_ns = kRetransmitMin;
    c_.retransmit_at = c_.acked < c_.sent ? environment_.clock + c_.retransmit_ns : 0;
  }

  void take_data(const Packet& packet) {
    if (packet.length() == 0) return;
    c_.ack_due = true;
    const auto behind = static_cast<std::int32_t>(c_.client_isn + static_cast<std::uint32_t>(c_.received) - packet.seq);
    if (behind < 0) return;
    const auto skip = static_cast<std::size_t>(behind);
    if (skip < packet.payload.size()) {
      const std::size_t room = kReceiveWindow - c_.unread.size();
      const std::size_t take = std::min(packet.payload.size() - skip, room);
      const auto from = packet.payload.begin() + behind;
      c_.unread.insert(c_.unread.end(), from, from + static_cast<std::ptrdiff_t>(take));
      c_.received += take;
      if (take < packet.payload.size() - skip) return;
    }
    if (packet.has(compare::kFin) && skip <= packet.payload.size() && !c_.client_closed) {
      c_.client_closed = true;
      ++c_.received;
    }
  }

  void serve() {
    for (const std::byte byte : c_.unread) take_byte(byte);
    c_.unread.clear();
    if (c_.client_closed) c_.closed = true;
  }

  void check_timer() {
    if (c_.retransmit_at == 0 || environment_.clock < c_.retransmit_at) return;
    c_.next = c_.acked;
    c_.retransmit_ns = std::min(2 * c_.retransmit_ns, kRetransmitMax);
    c_.retransmit_at = environment_.clock + c_.retransmit_ns;
  }

  void send() {
    for (int turn = 0; turn < kSegmentsPerTurn && can_send(); ++turn) send_segment();
    if (c_.ack_due) emit(c_.next, 0, compare::kAck);
  }

  bool can_send() const {
    if (!c_.established) return c_.next == 0;
    return c_.next < std::min(c_.end(), c_.acked + std::max<std::uint64_t>(c_.client_window, 1));
  }

 private:
  void send_segment() {
    if (c_.next == 0) {
      emit(0, 0, compare::kSyn | compare::kAck);
      advance(1);
      return;
    }
    const std::uint64_t edge = std::min(c_.written, c_.acked + std::max<std::uint64_t>(c_.client_window, 1));
    const std::uint64_t most = kSegmentMin + environment_.random.below(kSegmentMax - kSegmentMin + 1);
    const std::uint64_t bytes = edge > c_.next ? std::min(edge - c_.next, most) : 0;
    const bool fin = c_.closed && c_.next + bytes == c_.written;
    emit(c_.next, bytes, static_cast<std::uint8_t>(compare::kAck | (fin ? compare::kFin : 0)));
    advance(bytes + (fin ? 1U : 0U));
  }

  void advance(std::uint64_t length) {
    c_.next += length;
    c_.sent = std::max(c_.sent, c_.next);
    if (c_.retransmit_at == 0) c_.retransmit_at = environment_.clock + c_.retransmit_ns;
  }

  void emit(std::uint64_t position, std::uint64_t bytes, std::uint8_t flags) {
    Packet packet;
    packet.flow = flow_;
    packet.position = position;
    packet.ack_position = c_.received;
    packet.seq = c_.isn + static_cast<std::uint32_t>(position);
    packet.ack = c_.client_isn + static_cast<std::uint32_t>(c_.received);
    packet.window = static_cast<std::uint16_t>(kReceiveWindow - c_.unread.size());
    packet.flags = flags;
    packet.payload.reserve(bytes);
    for (std::uint64_t at = position; at < position + bytes; ++at) packet.payload.push_back(byte_at(at));
    out_.push_back(std::move(packet));
    c_.ack_due = false;
  }

  std::byte byte_at(std::uint64_t position) const {
    const auto answer = std::upper_bound(c_.answers.begin(), c_.answers.end(), position,
                                         [](std::uint64_t at, const Answer& candidate) { return at < candidate.end; });
    const std::uint64_t offset = position - answer->start;
    if (offset < kCookieBytes) return static_cast<std::byte>(answer->cookie >> (8 * offset));
    const std::byte byte = served_byte(flow_, position);
    return answer->refused ? ~byte : byte;
  }

  void take_byte(std::byte byte) {
    const std::uint64_t position = c_.read++;
    if (c_.body_left != 0) {
      if (byte != client_byte(flow_, position)) c_.body_wrong = true;
      if (--c_.body_left == 0) answer();
      return;
    }
    c_.request_head.push_back(byte);
    if (c_.request_head.size() < kRequestBytes) return;
    std::memcpy(&c_.request, c_.request_head.data(), kRequestBytes);
    c_.request_head.clear();
    c_.body_left = c_.request.body_bytes;
    if (c_.body_left == 0) answer();
  }

  void answer() {
    const bool refused = c_.body_wrong || c_.request.cookie != c_.cookie;
    c_.cookie = static_cast<std::uint32_t>(mix(c_.written + flow_.peer_port_be));
    if (environment_.random.chance(environment_.clock_reply))
      c_.cookie = static_cast<std::uint32_t>(environment_.random.next());
    const std::uint64_t end = c_.written + kCookieBytes + c_.request.reply_bytes;
    c_.answers.push_back({c_.written, end, c_.cookie, refused});
    c_.written = end;
  }

  const FlowKey& flow_;
  Connection& c_;
  GuestEnvironment& environment_;
  std::vector<Packet>& out_;
};

Packet echo(const Packet& packet) {
  Packet reply = packet;
  std::transform(reply.payload.begin(), reply.payload.end(), reply.payload.begin(), echoed);
  return reply;
}

Packet reset_for(const Packet& packet) {
  Packet reset;
  reset.flow = packet.flow;
  reset.seq = packet.ack;
  reset.flags = compare::kRst;
  return reset;
}

void absorb(std::uint64_t& digest, std::uint64_t value) {
  digest = mix(digest ^ value);
}

void absorb(std::uint64_t& digest, const Connection& c) {
  for (const std::uint64_t value :
       {std::uint64_t{c.isn}, c.acked, c.next, c.sent, c.written, c.received, c.read, std::uint64_t{c.cookie},
        std::uint64_t{c.body_left}, static_cast<std::uint64_t>(c.unread.size())})
    absorb(digest, value);
  for (const bool flag : {c.established, c.closed, c.client_closed, c.ack_due, c.body_wrong})
    absorb(digest, flag ? 1U : 0U);
  for (const Answer& answer : c.answers) absorb(digest, answer.end ^ (std::uint64_t{answer.cookie} << 32));
}

}  // namespace

const Connection* GuestState::find(const FlowKey& flow) const {
  const Page& page = pages[mix(flow.peer_port_be) % kPages];
  const auto found = page.connections.find(flow);
  return found == page.connections.end() ? nullptr : &found->second;
}

std::uint64_t GuestState::digest() const {
  std::uint64_t digest = secret;
  for (const Page& page : pages) {
    absorb(digest, page.writes);
    for (const auto& [flow, connection] : page.connections) {
      absorb(digest, flow.peer_port_be);
      absorb(digest, connection);
    }
  }
  return digest;
}

void Guest::receive(const Packet& packet, GuestEnvironment& environment, std::vector<Packet>& out) {
  if (packet.kind == Packet::Kind::udp) {
    out.push_back(echo(packet));
    return;
  }
  Page& page = state.page_of(packet.flow);
  ++page.writes;
  auto found = page.connections.find(packet.flow);
  if (found == page.connections.end()) {
    if (!packet.has(compare::kSyn)) {
      out.push_back(reset_for(packet));
      return;
    }
    // The initial number follows the clock (RFC 6528), so two guests choose different ones.
    Connection connection;
    connection.isn = static_cast<std::uint32_t>(mix(state.secret + packet.flow.peer_port_be) +
                                                static_cast<std::uint64_t>(environment.clock / 64));
    connection.client_isn = packet.seq;
    connection.retransmit_ns = kRetransmitMin;
    found = page.connections.emplace(packet.flow, std::move(connection)).first;
    return;
  }
  Stack stack(found->first, found->second, environment, out);
  if (packet.has(compare::kSyn)) {
    found->second.ack_due = found->second.established;
    if (!found->second.established) found->second.next = 0;
    return;
  }
  stack.take_ack(packet);
  stack.take_data(packet);
}

bool Guest::work(GuestEnvironment& environment, std::vector<Packet>& out) {
  bool more = false;
  for (Page& page : state.pages) {
    for (auto entry = page.connections.begin(); entry != page.connections.end();) {
      Connection& connection = entry->second;
      Stack stack(entry->first, connection, environment, out);
      const std::size_t before = out.size();
      stack.check_timer();
      const bool reads = environment.random.chance(0.7);
      if (reads) stack.serve();
      // A stack that waits a little with a bare acknowledgement often finds data to go with it.
      if (connection.ack_due && !stack.can_send() && environment.random.chance(0.3)) {
        more = true;
      } else {
        stack.send();
      }
      more = more || stack.can_send() || !connection.unread.empty() || (connection.client_closed && !connection.closed);
      if (out.size() != before || reads) ++page.writes;
      const bool over = connection.closed && connection.acked == connection.end();
      entry = over ? page.connections.erase(entry) : std::next(entry);
    }
  }
  return more;
}

std::optional<Nanos> Guest::next_timer() const {
  std::optional<Nanos> earliest;
  for (const Page& page : state.pages) {
    for (const auto& [flow, connection] : page.connections) {
      if (connection.retransmit_at != 0)
        earliest = std::min(earliest.value_or(connection.retransmit_at), connection.retransmit_at);
    }
  }
  return earliest;
}

}  // namespace twinstep::sim
