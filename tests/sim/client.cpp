// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace twinstep::sim {
namespace {

constexpr Nanos kRetransmitMin = 80 * kMillisecond;
constexpr Nanos kRetransmitMax = 400 * kMillisecond;
constexpr std::size_t kSegment = 1000;
constexpr std::uint16_t kWindow = 16384;
constexpr Nanos kBusyFor = 2500 * kMillisecond;
constexpr std::size_t kDatagramBytes = 24;
constexpr std::uint64_t kDatagrams = 4;
constexpr double kFloodChance = 0.1;
constexpr std::uint16_t kFirstStrangersPort = 20000;
constexpr Nanos kStrangersApartMax = 5 * kMillisecond;

FlowKey flow_of(std::uint16_t client_port) {
  return FlowKey::tcp4(htonl(0x0a000001), htonl(0x0a000002), htons(80), htons(client_port));
}

}  // namespace

Client::Client(Context& context, Send send) : context_(context), send_(std::move(send)) {}

void Client::start() {
  Random& random = context_.random;
  const std::size_t count = 2 + random.below(6);
  streams_.resize(count);
  for (std::size_t index = 0; index < count; ++index) {
    Stream& stream = streams_[index];
    stream.flow = flow_of(static_cast<std::uint16_t>(40000 + index));
    stream.requests_left = 1 + static_cast<int>(random.below(8));
    stream.isn = static_cast<std::uint32_t>(random.next());
    context_.scheduler.after(random.between(0, kBusyFor), [this, index] { open(streams_[index]); });
  }
  datagrams_left_ = static_cast<int>(random.below(60));
  send_datagram();
  if (random.chance(kFloodChance)) {
    strangers_left_ = static_cast<int>(random.between(40, 200));
    send_as_stranger();
  }
}

bool Client::done() const {
  return std::all_of(streams_.begin(), streams_.end(),
                     [](const Stream& stream) { return stream.state == State::over; });
}

std::string Client::stuck(Nanos since, Nanos limit) const {
  for (const Stream& stream : streams_) {
    if (!stream.waits() || context_.now() - std::max(stream.progress_at, since) <= limit) continue;
    return "stream " + std::to_string(ntohs(stream.flow.peer_port_be)) + " (sent " + std::to_string(stream.next) +
           ", acknowledged " + std::to_string(stream.acked) + " of " + std::to_string(stream.end()) + ", received " +
           std::to_string(stream.received) + ")";
  }
  return {};
}

void Client::open(Stream& stream) {
  stream.state = State::opening;
  stream.retransmit_ns = kRetransmitMin;
  stream.progress_at = context_.now();
  emit(stream, 0, 0, compare::kSyn);
  stream.next = 1;
  arm(stream);
}

void Client::request(Stream& stream) {
  if (stream.requests_left-- == 0) {
    stream.closed = true;
    transmit(stream);
    return;
  }
  Random& random = context_.random;
  const bool upload = random.chance(0.3);
  Request request;
  request.reply_bytes = static_cast<std::uint32_t>(1 + random.below(upload ? 50 : 12000));
  request.body_bytes = upload ? static_cast<std::uint32_t>(random.below(12000)) : 0;
  request.cookie = stream.cookie;
  const std::size_t at = stream.out.size();
  stream.out.resize(at + kRequestBytes);
  std::memcpy(stream.out.data() + at, &request, kRequestBytes);
  for (std::uint32_t byte = 0; byte < request.body_bytes; ++byte)
    stream.out.push_back(client_byte(stream.flow, stream.out.size() + 1));
  stream.cookie_left = kCookieBytes;
  stream.reply_left = request.reply_bytes;
  stream.progress_at = context_.now();
  transmit(stream);
}

void Client::transmit(Stream& stream) {
  const std::uint64_t data_end = 1 + stream.out.size();
  const std::uint64_t edge = std::min(data_end, stream.acked + std::max<std::uint64_t>(stream.server_window, 1));
  while (stream.next < edge) {
    const std::size_t bytes = std::min<std::size_t>(edge - stream.next, kSegment);
    emit(stream, stream.next, bytes, compare::kAck);
    stream.next += bytes;
  }
  if (stream.closed && stream.next == data_end) {
    emit(stream, stream.next, 0, compare::kAck | compare::kFin);
    ++stream.next;
  }
  if (stream.acked < stream.end() && !stream.timer_runs) arm(stream);
}

void Client::emit(const Stream& stream, std::uint64_t position, std::size_t bytes, std::uint8_t flags) {
  Packet packet;
  packet.flow = stream.flow;
  packet.flags = flags;
  packet.position = position;
  packet.ack_position = stream.received;
  packet.seq = stream.isn + static_cast<std::uint32_t>(position);
  packet.ack = packet.has(compare::kSyn) ? 0 : stream.server_isn + static_cast<std::uint32_t>(stream.received);
  packet.window = kWindow;
  if (bytes != 0) {
    const auto from = stream.out.begin() + static_cast<std::ptrdiff_t>(position - 1);
    packet.payload.assign(from, from + static_cast<std::ptrdiff_t>(bytes));
  }
  send_(packet);
}

void Client::arm(Stream& stream) {
  stream.timer_runs = true;
  const auto index = static_cast<std::size_t>(&stream - streams_.data());
  context_.scheduler.after(stream.retransmit_ns, [this, index, timer = ++stream.timer] {
    Stream& late = streams_[index];
    if (late.timer != timer) return;
    late.timer_runs = false;
    late.retransmit_ns = std::min(2 * late.retransmit_ns, kRetransmitMax);
    late.next = late.acked;
    if (late.state == State::opening) {
      emit(late, 0, 0, compare::kSyn);
      late.next = 1;
      arm(late);
    } else if (late.acked < late.end()) {
      transmit(late);
    }
  });
}

void Client::receive(const Packet& packet) {
  if (packet.kind == Packet::Kind::udp) {
    receive_datagram(packet);
    return;
  }
  for (Stream& stream : streams_) {
    if (stream.flow == packet.flow && stream.state != State::planned) receive_tcp(stream, packet);
  }
}

void Client::receive_tcp(Stream& stream, const Packet& packet) {
  if (packet.has(compare::kRst)) {
    // A server that has forgotten the closed connection may say so; before that, nothing may end it.
    if (stream.closed && stream.server_fin) {
      stream.state = State::over;
    } else {
      fail(stream, "was reset");
    }
    return;
  }
  if (stream.state == State::opening) {
    if (!packet.has(compare::kSyn) || packet.ack != stream.isn + 1) return;
    stream.state = State::open;
    stream.server_isn = packet.seq;
    stream.received = 1;
    stream.acked = stream.next = 1;
    stream.server_window = packet.window;
    stream.progress_at = context_.now();
    ++stream.timer;
    stream.timer_runs = false;
    request(stream);
    return;
  }
  take_ack(stream, packet);
  take_data(stream, packet);
  transmit(stream);
  finish_if_over(stream);
}

void Client::take_ack(Stream& stream, const Packet& packet) {
  const auto ahead = static_cast<std::int32_t>(packet.ack - stream.isn - static_cast<std::uint32_t>(stream.acked));
  if (ahead < 0) return;
  if (stream.acked + static_cast<std::uint32_t>(ahead) > stream.end()) {
    fail(stream, "got an acknowledgement of what it never sent");
    return;
  }
  stream.server_window = packet.window;
  if (ahead == 0) return;
  stream.acked += static_cast<std::uint32_t>(ahead);
  stream.next = std::max(stream.next, stream.acked);
  stream.progress_at = context_.now();
  stream.retransmit_ns = kRetransmitMin;
  ++stream.timer;
  stream.timer_runs = false;
}

void Client::take_data(Stream& stream, const Packet& packet) {
  if (packet.length() == 0) return;
  const auto ahead =
      static_cast<std::int32_t>(packet.seq - stream.server_isn - static_cast<std::uint32_t>(stream.received));
  const auto start = static_cast<std::uint64_t>(static_cast<std::int64_t>(stream.received) + ahead);
  if (ahead > 4 * kWindow || ahead < -(1 << 24)) return;
  if (!packet.has(compare::kSyn)) {
    for (std::size_t offset = 0; offset < packet.payload.size(); ++offset) {
      if (start + offset >= stream.received) stream.early.emplace(start + offset, packet.payload[offset]);
    }
    if (packet.has(compare::kFin)) stream.server_fin = start + packet.payload.size();
  }
  const std::uint64_t before = stream.received;
  while (!stream.early.empty() && stream.early.begin()->first == stream.received) {
    check(stream, stream.early.begin()->second);
    stream.early.erase(stream.early.begin());
    ++stream.received;
  }
  if (stream.server_fin && stream.received == *stream.server_fin) {
    if (!stream.closed) fail(stream, "was closed by the server");
    ++stream.received;
  }
  if (stream.received != before) stream.progress_at = context_.now();
  emit(stream, stream.next, 0, compare::kAck);
}

void Client::check(Stream& stream, std::byte byte) {
  if (stream.cookie_left > 0) {
    stream.cookie = (stream.cookie >> 8) | (std::to_integer<std::uint32_t>(byte) << 24);
    --stream.cookie_left;
    return;
  }
  if (stream.reply_left == 0 || byte != served_byte(stream.flow, stream.received)) {
    fail(stream, "got a wrong byte at " + std::to_string(stream.received));
    return;
  }
  if (--stream.reply_left > 0) return;
  const auto index = static_cast<std::size_t>(&stream - streams_.data());
  context_.scheduler.after(context_.random.between(0, 200 * kMillisecond), [this, index] { request(streams_[index]); });
}

void Client::finish_if_over(Stream& stream) {
  if (stream.closed && stream.acked == stream.end() && stream.server_fin && stream.received > *stream.server_fin)
    stream.state = State::over;
}

void Client::fail(const Stream& stream, const std::string& what) {
  if (enabled_)
    context_.violate("I1", "the client's stream " + std::to_string(ntohs(stream.flow.peer_port_be)) + " " + what);
}

void Client::send_datagram() {
  if (datagrams_left_-- <= 0) return;
  Packet packet;
  packet.kind = Packet::Kind::udp;
  packet.flow = flow_of(39999);
  packet.flow.vm_port_be = htons(7);
  // Few different ones: a reply that repeats an older one must wait for its own twin.
  const std::uint64_t number = datagram_++ % kDatagrams;
  for (std::uint64_t byte = 0; byte < kDatagramBytes; ++byte)
    packet.payload.push_back(byte < 8 ? static_cast<std::byte>(number >> (8 * byte))
                                      : static_cast<std::byte>(mix(number) >> byte));
  send_(packet);
  context_.scheduler.after(context_.random.between(kMillisecond, 100 * kMillisecond), [this] { send_datagram(); });
}

void Client::send_as_stranger() {
  if (strangers_left_-- <= 0) return;
  Packet packet;
  packet.flow = flow_of(static_cast<std::uint16_t>(kFirstStrangersPort + strangers_left_));
  packet.flags = compare::kSyn;
  packet.seq = static_cast<std::uint32_t>(context_.random.next());
  packet.window = kWindow;
  send_(packet);
  context_.scheduler.after(context_.random.between(0, kStrangersApartMax), [this] { send_as_stranger(); });
}

void Client::receive_datagram(const Packet& packet) {
  std::uint64_t number = 0;
  for (std::uint64_t byte = 0; byte < 8; ++byte)
    number |= std::to_integer<std::uint64_t>(echoed(packet.payload[byte])) << (8 * byte);
  bool right = number < kDatagrams;
  for (std::uint64_t byte = 8; byte < kDatagramBytes; ++byte)
    right = right && echoed(packet.payload[byte]) == static_cast<std::byte>(mix(number) >> byte);
  if (!right && enabled_) context_.violate("I1", "the client got a wrong datagram");
}

}  // namespace twinstep::sim
