// SPDX-License-Identifier: Apache-2.0
#include "core/compare/frame.hpp"

#include <algorithm>

#include "core/compare/bytes.hpp"

namespace twinstep::compare {
namespace {

constexpr std::size_t kEthernetBytes = TS_ETHERNET_BYTES;

using Bytes = std::span<const std::byte>;

// TCP options (RFC 9293, 3.1; RFC 7323; RFC 2018; RFC 2385; RFC 5925).
enum class Option : std::uint8_t {
  end = 0,
  no_operation = 1,
  mss = 2,
  window_scale = 3,
  sack_permitted = 4,
  timestamps = 8,
  md5_signature = 19,
  authentication = 29
};
constexpr std::uint8_t kWindowScaleMax = 14;  // RFC 7323, 2.3

/// The part of a SYN's options that must agree, packed: MSS, then window scale, then what is present, all without loss;
/// above, a sum over the kinds and lengths of the others, whose content is opaque and may differ.
constexpr std::uint32_t kHasMss = 1U << 31;
constexpr std::uint32_t kHasWindowScale = 1U << 30;
constexpr std::uint32_t kHasSackPermitted = 1U << 29;
constexpr std::uint32_t kHasTimestamps = 1U << 28;
constexpr unsigned kOpaqueShift = 32;

/// Options of other kinds or of wrong lengths.
void note_opaque(Option kind, Bytes value, TcpSegment& segment) {
  const std::uint64_t what = (std::uint64_t{static_cast<std::uint8_t>(kind)} << 8 | value.size()) + 1;
  segment.syn_options += (what * 0x9e3779b97f4a7c15U >> kOpaqueShift) << kOpaqueShift;
}

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
    case Option::md5_signature:
    case Option::authentication:
      segment.is_signed = true;
      note_opaque(kind, value, segment);
      break;
    default:
      note_opaque(kind, value, segment);
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

void read_tcp(Bytes header, TcpSegment& segment) {
  segment.seq = load_be32(header, 4);
  segment.ack = load_be32(header, 8);
  segment.flags = std::to_integer<std::uint8_t>(header[13]);
  segment.window = load_be16(header, 14);
  read_options(header.subspan(TS_TCP_BYTES_MIN), segment);
  if ((segment.flags & kSyn) != 0) return;
  segment.window_scale.reset();
  segment.syn_options = 0;
  segment.is_signed = false;
}

const __u8* raw(Bytes bytes) {
  return reinterpret_cast<const __u8*>(bytes.data());
}

/// Everything but the digest and the flow's number.
Frame classify(Bytes bytes) {
  Frame frame;
  const ts_packet packet = layout_of(bytes);
  frame.payload = bytes.subspan(packet.payload_offset, packet.payload_bytes);
  if (packet.ip_offset == 0) return frame;
  frame.cls = static_cast<ts_class>(packet.kind);
  ts_packet_key(raw(bytes), raw(bytes) + bytes.size(), &packet, 1, &frame.flow);
  if (frame.cls == TS_CLASS_TCP)
    read_tcp(bytes.subspan(packet.transport_offset, packet.payload_offset - packet.transport_offset), frame.tcp);
  return frame;
}

bool agrees(const Frame& frame, Bytes bytes, const ts_frame_meta& meta) {
  return (meta.class_flags & 0x0f) == frame.cls && meta.payload_bytes == frame.payload.size() &&
         meta.payload_offset == static_cast<std::size_t>(frame.payload.data() - bytes.data());
}

}  // namespace

ts_packet layout_of(Bytes bytes) {
  ts_packet packet{};
  if (ts_parse_frame(raw(bytes), raw(bytes) + bytes.size(), static_cast<__u32>(bytes.size()), &packet) != 0)
    packet.payload_bytes = static_cast<__u32>(bytes.size());
  return packet;
}

Frame parse(std::span<const std::byte> bytes, const ts_frame_meta& meta, const DigestKey& key) {
  Frame frame = classify(bytes);
  if (!agrees(frame, bytes, meta)) {
    Frame whole;
    whole.flow_id = key.flow_id(whole.flow);
    whole.payload = bytes.subspan(std::min(bytes.size(), kEthernetBytes));
    whole.digest = key.of(whole.payload);
    return whole;
  }
  frame.flow_id = key.flow_id(frame.flow);
  const bool partial = ((meta.class_flags >> 4) & TS_META_DIGEST_PARTIAL) != 0;
  frame.digest = partial ? key.of(frame.payload) : key.reduce(meta.acc);
  frame.has_twin = ((meta.class_flags >> 4) & TS_META_TWIN) != 0;
  return frame;
}

Frame parse(std::span<const std::byte> bytes, const DigestKey& key) {
  Frame frame = classify(bytes);
  frame.flow_id = key.flow_id(frame.flow);
  frame.digest = key.of(frame.payload);
  return frame;
}

}  // namespace twinstep::compare
