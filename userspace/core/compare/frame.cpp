// SPDX-License-Identifier: Apache-2.0
#include "core/compare/frame.hpp"

#include <algorithm>
#include <array>

#include "core/compare/bytes.hpp"

namespace twinstep::compare {
namespace {

constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kArpBytes = 28;
constexpr std::size_t kIpv4BytesMin = 20;
constexpr std::size_t kTcpBytesMin = 20;
constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
constexpr std::uint16_t kEtherTypeArp = 0x0806;
constexpr std::uint8_t kProtocolIgmp = 2;
constexpr std::uint8_t kProtocolTcp = 6;
/// More fragments follow, or the offset is not zero (RFC 791).
constexpr std::uint16_t kFragmentMask = 0x3fff;
/// 224.0.0.0/24, the local network control block (RFC 5771): mDNS, LLMNR and the like.
constexpr std::uint32_t kLocalControl = 0xe0000000;
constexpr std::uint32_t kLocalControlMask = 0xffffff00;

using Bytes = std::span<const std::byte>;

// TCP options (RFC 9293, 3.1; RFC 7323; RFC 2018).
enum class Option : std::uint8_t {
  end = 0,
  no_operation = 1,
  mss = 2,
  window_scale = 3,
  sack_permitted = 4,
  timestamps = 8
};
constexpr std::uint8_t kWindowScaleMax = 14;  // RFC 7323, 2.3

/// The part of a SYN's options that must agree, packed without loss: MSS, then window scale, then what is present.
constexpr std::uint32_t kHasMss = 1U << 31;
constexpr std::uint32_t kHasWindowScale = 1U << 30;
constexpr std::uint32_t kHasSackPermitted = 1U << 29;
constexpr std::uint32_t kHasTimestamps = 1U << 28;

void read_option(Option kind, Bytes value, TcpSegment& segment) {
  switch (kind) {
    case Option::mss:
      if (value.size() == 2) segment.syn_options |= kHasMss | load_be16(value, 0);
      break;
    case Option::window_scale:
      if (value.size() == 1) {
        segment.window_scale = std::min(std::to_integer<std::uint8_t>(value[0]), kWindowScaleMax);
        segment.syn_options |= kHasWindowScale | (std::uint32_t{*segment.window_scale} << 16);
      }
      break;
    case Option::sack_permitted:
      if (value.empty()) segment.syn_options |= kHasSackPermitted;
      break;
    case Option::timestamps:
      if (value.size() == 8) {
        segment.tsval = load_be32(value, 0);
        segment.syn_options |= kHasTimestamps;
      }
      break;
    case Option::end:
    case Option::no_operation:
      break;
  }
}

/// A malformed option ends the list, as receivers do.
void read_options(Bytes options, TcpSegment& segment) {
  while (!options.empty()) {
    const auto kind = static_cast<Option>(options[0]);
    if (kind == Option::end) return;
    if (kind == Option::no_operation) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2) return;
    const auto length = std::to_integer<std::size_t>(options[1]);
    if (length < 2 || length > options.size()) return;
    read_option(kind, options.subspan(2, length - 2), segment);
    options = options.subspan(length);
  }
}

/// packet: an IPv4 packet cut to its total length. Returns false, and leaves the frame as it is, for a malformed
/// header.
bool read_tcp(Bytes packet, std::size_t ip_bytes, Frame& frame) {
  const Bytes tcp = packet.subspan(ip_bytes);
  if (tcp.size() < kTcpBytesMin) return false;
  const std::size_t header_bytes = std::to_integer<std::size_t>(tcp[12] >> 4) * 4;
  if (header_bytes < kTcpBytesMin || header_bytes > tcp.size()) return false;

  TcpSegment& segment = frame.tcp;
  segment.flow = {.vm_addr_be = frame.vm_addr_be,
                  .peer_addr_be = frame.peer_addr_be,
                  .vm_port_be = load_raw16(tcp, 0),
                  .peer_port_be = load_raw16(tcp, 2)};
  segment.seq = load_be32(tcp, 4);
  segment.ack = load_be32(tcp, 8);
  segment.flags = std::to_integer<std::uint8_t>(tcp[13]);
  segment.window = load_be16(tcp, 14);
  read_options(tcp.first(header_bytes).subspan(kTcpBytesMin), segment);
  if ((segment.flags & kSyn) == 0) {
    segment.window_scale.reset();
    segment.syn_options = 0;
  }
  frame.cls = TS_CLASS_TCP;
  frame.payload = tcp.subspan(header_bytes);
  return true;
}

/// Leaves the frame as it is for a header that contradicts itself: such a frame is compared whole.
void read_ipv4(Bytes packet, Bytes whole, Frame& frame) {
  if (packet.size() < kIpv4BytesMin) return;
  const auto version = std::to_integer<unsigned>(packet[0] >> 4);
  const std::size_t header_bytes = std::to_integer<std::size_t>(packet[0] & std::byte{0x0f}) * 4;
  const std::size_t total_bytes = load_be16(packet, 2);
  if (version != 4 || header_bytes < kIpv4BytesMin || total_bytes < header_bytes || total_bytes > packet.size()) return;

  const auto protocol = std::to_integer<std::uint8_t>(packet[9]);
  if (protocol == kProtocolIgmp || (load_be32(packet, 16) & kLocalControlMask) == kLocalControl) {
    frame.cls = TS_CLASS_SOFT;
    frame.payload = whole;
    return;
  }
  packet = packet.first(total_bytes);
  frame.vm_addr_be = load_raw32(packet, 12);
  frame.peer_addr_be = load_raw32(packet, 16);
  frame.ip_protocol = protocol;
  const bool fragment = (load_be16(packet, 6) & kFragmentMask) != 0;
  if (protocol == kProtocolTcp && !fragment && read_tcp(packet, header_bytes, frame)) return;
  frame.cls = TS_CLASS_DATAGRAM;
  frame.payload = packet.subspan(header_bytes);
}

bool is_multicast(Bytes bytes) {
  const bool broadcast =
      std::all_of(bytes.begin(), bytes.begin() + 6, [](std::byte b) { return b == std::byte{0xff}; });
  return (bytes[0] & std::byte{1}) != std::byte{0} && !broadcast;
}

/// Everything but the digest. The same decisions as the tap program takes.
Frame classify(Bytes bytes) {
  Frame frame;
  frame.payload = bytes;
  if (bytes.size() < kEthernetBytes) return frame;
  const Bytes body = bytes.subspan(kEthernetBytes);
  frame.payload = body;
  switch (load_be16(bytes, 12)) {
    case kEtherTypeArp:
      if (body.size() >= kArpBytes) {
        frame.cls = TS_CLASS_ARP;
        frame.payload = body.first(kArpBytes);
      }
      break;
    case kEtherTypeIpv4:
      read_ipv4(body, body, frame);
      break;
    default:
      if (is_multicast(bytes)) frame.cls = TS_CLASS_SOFT;
      break;
  }
  return frame;
}

bool agrees(const Frame& frame, Bytes bytes, const ts_frame_meta& meta) {
  return (meta.class_flags & 0x0f) == frame.cls && meta.payload_bytes == frame.payload.size() &&
         meta.payload_offset == static_cast<std::size_t>(frame.payload.data() - bytes.data());
}

}  // namespace

std::size_t FlowKeyHash::operator()(const FlowKey& key) const noexcept {
  const auto mix = [](std::uint64_t x) {
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    return x ^ (x >> 32);
  };
  const std::uint64_t addresses = (std::uint64_t{key.vm_addr_be} << 32) | key.peer_addr_be;
  const std::uint64_t ports = (std::uint64_t{key.vm_port_be} << 16) | key.peer_port_be;
  return mix(mix(addresses) + ports);
}

Frame parse(std::span<const std::byte> bytes, const ts_frame_meta& meta, const DigestKey& key) {
  Frame frame = classify(bytes);
  if (!agrees(frame, bytes, meta)) {
    Frame whole;
    whole.payload = bytes.subspan(std::min(bytes.size(), kEthernetBytes));
    whole.digest = key.of(whole.payload);
    return whole;
  }
  const bool partial = ((meta.class_flags >> 4) & TS_META_DIGEST_PARTIAL) != 0;
  frame.digest = partial ? key.of(frame.payload) : key.reduce(meta.acc);
  return frame;
}

Frame parse(std::span<const std::byte> bytes, const DigestKey& key) {
  Frame frame = classify(bytes);
  frame.digest = key.of(frame.payload);
  return frame;
}

}  // namespace twinstep::compare
