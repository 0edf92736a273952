// SPDX-License-Identifier: Apache-2.0
#include "packet_table.hpp"

#include <algorithm>
#include <iterator>

#include "layers.hpp"

namespace twinstep::test {
namespace {

constexpr Ends kFour{.family = 4};
constexpr Ends kSix{.family = 6};
const Mac kGroup{0x33, 0x33, 0, 0, 0, 1};
const Mac kLldp{0x01, 0x80, 0xc2, 0, 0, 0x0e};

using Cases = std::vector<PacketCase>;

Bytes four(std::uint8_t protocol, const Bytes& payload, std::uint16_t fragment = 0) {
  return frame_of(kFour, packet_of(Ip4{.protocol = protocol, .fragment = fragment}, payload));
}
Bytes six(std::uint8_t next, const Bytes& payload) {
  return frame_of(kSix, packet_of(Ip6{.next = next}, payload));
}
Bytes six_to(const Bytes& destination, std::uint8_t next, const Bytes& payload) {
  return frame_of(kSix, packet_of(Ip6{.next = next, .destination = destination}, payload));
}
Bytes group6(int scope, int last) {
  return bytes_of({0xff, scope, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last});
}
Bytes cut(Bytes frame, std::size_t bytes) {
  frame.resize(frame.size() - bytes);
  return frame;
}
Bytes with(Bytes frame, std::size_t at, int value) {
  frame.at(at) = static_cast<std::byte>(value);
  return frame;
}

Cases tcp_cases() {
  const Bytes data = pattern(9);
  const Bytes plain = segment_of({.ends = kFour, .payload = data});
  const Bytes bare = segment_of({.ends = kFour});
  Bytes padded = four(6, bare);
  padded.resize(60);
  // Kinds 19 (MD5, RFC 2385), 29 (AO, RFC 5925), 34 (Fast Open, RFC 7413).
  const Bytes md5 = concat({bytes_of({1, 1, 19, 18}), pattern(16)});
  const Bytes ao = concat({bytes_of({29, 16, 1, 1}), pattern(12)});
  const Bytes fast_open = concat({bytes_of({34, 10}), pattern(8), bytes_of({1, 1})});
  const auto tcp = [](const char* name, Bytes frame, std::size_t offset, std::size_t bytes) {
    return PacketCase{.name = name,
                      .frame = std::move(frame),
                      .expected = TS_CLASS_TCP,
                      .payload_offset = offset,
                      .payload_bytes = bytes,
                      .protocol = 6};
  };
  const auto datagram = [&](const char* name, Bytes frame, std::size_t offset, std::size_t bytes) {
    PacketCase each = tcp(name, std::move(frame), offset, bytes);
    each.expected = TS_CLASS_DATAGRAM;
    return each;
  };
  return {
      tcp("tcp", four(6, plain), 54, 9),
      tcp("tcp with timestamps", four(6, segment_of({.options = timestamps(1, 2), .payload = data})), 66, 9),
      tcp("tcp, padded by Ethernet", padded, 54, 0),
      tcp("tcp, urgent", four(6, segment_of({.flags = 0x30, .urgent = 3, .payload = data})), 54, 9),
      tcp("tcp, ECN echo and CWR", four(6, segment_of({.flags = 0xd0, .payload = data})), 54, 9),
      tcp("tcp syn, MD5 option", four(6, segment_of({.flags = 2, .options = md5})), 74, 0),
      tcp("tcp syn, AO option", four(6, segment_of({.flags = 2, .options = ao})), 70, 0),
      tcp("tcp syn, Fast Open with data", four(6, segment_of({.flags = 2, .options = fast_open, .payload = data})), 66,
          9),
      tcp("tcp, all the options there can be",
          frame_of(kFour, packet_of(Ip4{.protocol = 6, .options = Bytes(40, std::byte{1})},
                                    segment_of({.options = Bytes(40, std::byte{1}), .payload = pattern(3)}))),
          134, 3),
      datagram("tcp, header longer than the packet", with(four(6, plain), 46, 0xf0), 34, 29),
      datagram("tcp, header too short", with(four(6, plain), 46, 0x40), 34, 29),
      datagram("tcp, cut in its header", four(6, cut(bare, 1)), 34, 19),
  };
}

Cases ipv4_cases() {
  const Bytes udp = datagram_of(kFour, pattern(30));
  const auto datagram = [](const char* name, Bytes frame, unsigned protocol, std::size_t bytes,
                           std::uint16_t fragment = 0) {
    return PacketCase{.name = name,
                      .frame = std::move(frame),
                      .payload_offset = 34,
                      .payload_bytes = bytes,
                      .protocol = protocol,
                      .fragment = fragment};
  };
  const auto opaque = [](const char* name, Bytes frame, std::size_t bytes) {
    return PacketCase{.name = name,
                      .frame = std::move(frame),
                      .expected = TS_CLASS_OTHER,
                      .payload_offset = 14,
                      .payload_bytes = bytes,
                      .family = 0};
  };
  const auto soft = [](const char* name, Bytes frame, unsigned protocol) {
    const std::size_t bytes = frame.size() - 14;
    return PacketCase{.name = name,
                      .frame = std::move(frame),
                      .expected = TS_CLASS_SOFT,
                      .payload_offset = 14,
                      .payload_bytes = bytes,
                      .protocol = protocol};
  };
  PacketCase options = datagram("udp behind IPv4 options",
                                frame_of(kFour, packet_of(Ip4{.options = Bytes(40, std::byte{1})}, udp)), 17, 38);
  options.payload_offset = 74;
  const auto group = [&](int a, int b, int c, int d, std::uint8_t protocol) {
    return frame_of(kFour, packet_of(Ip4{.protocol = protocol, .destination = bytes_of({a, b, c, d})}, pattern(8)));
  };
  return {
      datagram("udp", four(17, udp), 17, 38),
      datagram("udp without a checksum", four(17, datagram_of(kFour, pattern(30), false)), 17, 38),
      options,
      datagram("udp, first fragment", four(17, udp, 0x2000), 17, 38, 0x2000),
      datagram("udp, later fragment", four(17, udp, 0x2007), 17, 38, 0x2007),
      datagram("udp, last fragment", four(17, udp, 0x000e), 17, 38, 0x000e),
      datagram("udp, not to be fragmented", four(17, udp, 0x4000), 17, 38),
      datagram("tcp, first fragment", four(6, pattern(64), 0x2000), 6, 64, 0x2000),
      datagram("tcp, later fragment", four(6, pattern(64), 0x0001), 6, 64, 0x0001),
      datagram("icmp echo", four(1, icmp_of(kFour, 8, 0x10001, pattern(24))), 1, 32),
      datagram("icmp, too short to be an error", four(1, bytes_of({3, 1, 0, 0})), 1, 4),
      datagram("sctp", four(132, pattern(40)), 132, 40),
      datagram("gre", four(47, pattern(40)), 47, 40),
      datagram("esp", four(50, pattern(40)), 50, 40),
      datagram("ah", four(51, pattern(40)), 51, 40),
      datagram("a protocol without a name", four(253, pattern(5)), 253, 5),
      datagram("no payload at all", four(17, {}), 17, 0),
      datagram("other multicast", group(224, 0, 1, 0, 17), 17, 8),
      datagram("broadcast", group(255, 255, 255, 255, 17), 17, 8),
      soft("igmp", group(239, 255, 255, 255, 2), 2),
      soft("mdns", group(224, 0, 0, 251, 17), 17),
      opaque("ip, longer than the frame", with(four(17, udp), 17, 99), 58),
      opaque("ip, shorter than its header", with(four(17, udp), 17, 19), 58),
      opaque("ip, header of four words", with(four(17, udp), 14, 0x44), 58),
      opaque("ip of another version", with(four(17, udp), 14, 0x55), 58),
      opaque("ip, cut in its header", cut(four(17, {}), 1), 19),
  };
}

/// An ICMP error about a segment of the client (or, with its numbers, of the VM): it is compared up to the quoted
/// sequence number.
Cases quote_cases() {
  const Stream client{.ends = {.family = 4, .to_vm = true}, .payload = pattern(20)};
  const Stream client6{.ends = {.family = 6, .to_vm = true}, .payload = pattern(20)};
  const Bytes quoted = packet_of(Ip4{.ends = client.ends, .protocol = 6}, segment_of(client));
  const Bytes quoted6 = packet_of(Ip6{.ends = client6.ends, .next = 6}, segment_of(client6));
  const Bytes stretched = packet_of(Ip6{.ends = client6.ends, .next = 60}, concat({extension(6), segment_of(client6)}));
  const Bytes later = packet_of(Ip4{.ends = client.ends, .protocol = 6, .fragment = 5}, segment_of(client));
  const Bytes first = packet_of(Ip4{.ends = client.ends, .protocol = 6, .fragment = 0x2000}, segment_of(client));
  const Bytes udp = packet_of(Ip4{.ends = client.ends}, datagram_of(client.ends, pattern(20)));
  const auto error = [](const char* name, const Bytes& quote, std::size_t bytes, std::uint8_t type = 3) {
    return PacketCase{.name = name,
                      .frame = four(1, icmp_of(kFour, type, 0, quote)),
                      .payload_offset = 34,
                      .payload_bytes = bytes,
                      .protocol = 1};
  };
  const auto error6 = [](const char* name, const Bytes& quote, std::size_t bytes, std::uint8_t type = 1) {
    return PacketCase{.name = name,
                      .frame = six(58, icmp_of(kSix, type, 0, quote)),
                      .payload_offset = 54,
                      .payload_bytes = bytes,
                      .family = 6,
                      .protocol = 58};
  };
  const auto head = [](const Bytes& bytes, std::size_t size) {
    return Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
  };
  return {
      error("icmp unreachable, quotes tcp", quoted, 8 + 20 + 8),
      error("icmp time exceeded, quotes tcp", quoted, 8 + 20 + 8, 11),
      error("icmp unreachable, quotes 8 bytes of tcp", head(quoted, 28), 8 + 20 + 8),
      error("icmp unreachable, quotes 7 bytes of tcp", head(quoted, 27), 8 + 27),
      error("icmp unreachable, quotes tcp's first fragment", first, 8 + 20 + 8),
      error("icmp unreachable, quotes tcp's later fragment", later, 8 + later.size()),
      error("icmp unreachable, quotes udp", udp, 8 + udp.size()),
      error("icmp unreachable, quotes nothing of IP", pattern(40), 8 + 40),
      error("icmp echo of what would be a quotation", quoted, 8 + quoted.size(), 8),
      error6("icmpv6 unreachable, quotes tcp", quoted6, 8 + 40 + 8),
      error6("icmpv6 too big, quotes tcp", quoted6, 8 + 40 + 8, 2),
      error6("icmpv6 unreachable, quotes tcp behind options", stretched, 8 + 48 + 8),
      error6("icmpv6 unreachable, quotes 7 bytes of tcp", head(quoted6, 47), 8 + 47),
      error6("icmpv6 echo of what would be a quotation", quoted6, 8 + quoted6.size(), 128),
      error6("icmpv6 unreachable, quotes IPv4", quoted, 8 + quoted.size()),
  };
}

Cases ipv6_cases() {
  const Bytes tcp = segment_of({.ends = kSix, .payload = pattern(9)});
  const Bytes udp = datagram_of(kSix, pattern(30));
  const auto each = [](const char* name, Bytes frame, ts_class expected, unsigned protocol, std::size_t offset,
                       std::size_t bytes, std::uint16_t fragment = 0) {
    return PacketCase{.name = name,
                      .frame = std::move(frame),
                      .expected = expected,
                      .payload_offset = offset,
                      .payload_bytes = bytes,
                      .family = 6,
                      .protocol = protocol,
                      .fragment = fragment};
  };
  const auto soft = [&](const char* name, const Bytes& frame, unsigned protocol) {
    return each(name, frame, TS_CLASS_SOFT, protocol, 14, frame.size() - 14);
  };
  const auto chain = [&](int headers) {
    Bytes payload;
    for (int i = 0; i < headers; ++i) payload = concat({payload, extension(i + 1 < headers ? 60 : 6)});
    return six(60, concat({payload, tcp}));
  };
  PacketCase overlong{.name = "ipv6, longer than the frame",
                      .frame = with(six(17, udp), 19, 200),
                      .expected = TS_CLASS_OTHER,
                      .payload_offset = 14,
                      .payload_bytes = 78,
                      .family = 0};
  PacketCase other = overlong;
  other.name = "ipv6 of another version";
  other.frame = with(six(17, udp), 14, 0x70);
  PacketCase short_header = overlong;
  short_header.name = "ipv6, cut in its header";
  short_header.frame = cut(six(59, {}), 1);
  short_header.payload_bytes = 39;
  PacketCase fragment_soft = soft("a fragment to the link's nodes, no neighbour discovery",
                                  six_to(group6(2, 1), 44, concat({fragment_header(58, 0x0008), pattern(24)})), 58);
  fragment_soft.fragment = 1;
  const Bytes report = concat({extension(58), icmp_of(kSix, 143, 1, pattern(20))});
  return {
      each("tcp over ipv6", six(6, tcp), TS_CLASS_TCP, 6, 74, 9),
      each("tcp behind hop-by-hop options", six(0, concat({extension(6, 1), tcp})), TS_CLASS_TCP, 6, 90, 9),
      each("tcp behind destination options", six(60, concat({extension(6), tcp})), TS_CLASS_TCP, 6, 82, 9),
      each("tcp behind a routing header that is done", six(43, concat({extension(6, 2, 4, 0), tcp})), TS_CLASS_TCP, 6,
           98, 9),
      each("tcp behind a routing header", six(43, concat({extension(6, 2, 4, 1), tcp})), TS_CLASS_DATAGRAM, 6, 78, 29),
      each("tcp in an atomic fragment", six(44, concat({fragment_header(6, 0), tcp})), TS_CLASS_TCP, 6, 82, 9),
      each("tcp behind all kinds of headers",
           six(0, concat({extension(60), extension(43), extension(44, 0, 0, 0), fragment_header(60, 0), extension(6),
                          tcp})),
           TS_CLASS_TCP, 6, 114, 9),
      each("tcp behind six headers", chain(6), TS_CLASS_TCP, 6, 122, 9),
      each("tcp behind seven headers", chain(7), TS_CLASS_DATAGRAM, 60, 102, 8 + 29),
      each("tcp behind the longest header", six(60, concat({extension(6, 16), tcp})), TS_CLASS_TCP, 6, 54 + 136 + 20,
           9),
      each("tcp behind a header too long", six(60, concat({extension(6, 17), tcp})), TS_CLASS_DATAGRAM, 60, 54,
           144 + 29),
      each("a header longer than the packet", six(60, with(extension(6, 1), 1, 9)), TS_CLASS_DATAGRAM, 60, 54, 16),
      each("a header cut short", six(60, Bytes(7)), TS_CLASS_DATAGRAM, 60, 54, 7),
      each("tcp inside AH", six(51, concat({extension(6, 4), tcp})), TS_CLASS_DATAGRAM, 51, 54, 40 + 29),
      each("tcp over ipv6, cut in its header", six(6, cut(segment_of({.ends = kSix}), 1)), TS_CLASS_DATAGRAM, 6, 54,
           19),
      each("udp over ipv6", six(17, udp), TS_CLASS_DATAGRAM, 17, 54, 38),
      each("udp, first fragment over ipv6", six(44, concat({fragment_header(17, 0x0001), udp})), TS_CLASS_DATAGRAM, 17,
           62, 38, 0x2000),
      each("udp, later fragment over ipv6", six(44, concat({fragment_header(17, 0x0029, 9), udp})), TS_CLASS_DATAGRAM,
           17, 62, 38, 0x2005),
      each("udp, last fragment over ipv6", six(44, concat({fragment_header(17, 0x0050), udp})), TS_CLASS_DATAGRAM, 17,
           62, 38, 0x000a),
      each("tcp, fragment behind options", six(60, concat({extension(44), fragment_header(6, 0x0001), tcp})),
           TS_CLASS_DATAGRAM, 6, 70, 29, 0x2000),
      each("a fragment's headers aren't walked", six(44, concat({fragment_header(60, 0x0008), extension(6), tcp})),
           TS_CLASS_DATAGRAM, 60, 62, 8 + 29, 0x0001),
      each("sctp over ipv6", six(132, pattern(40)), TS_CLASS_DATAGRAM, 132, 54, 40),
      each("esp over ipv6", six(50, pattern(40)), TS_CLASS_DATAGRAM, 50, 54, 40),
      each("gre over ipv6", six(47, pattern(40)), TS_CLASS_DATAGRAM, 47, 54, 40),
      each("no next header", six(59, {}), TS_CLASS_DATAGRAM, 59, 54, 0),
      each("icmpv6 echo", six(58, icmp_of(kSix, 128, 7, pattern(16))), TS_CLASS_DATAGRAM, 58, 54, 24),
      each("neighbour solicitation", six_to(group6(2, 1), 58, icmp_of(kSix, 135, 0, pattern(24))), TS_CLASS_DATAGRAM,
           58, 54, 32),
      each("neighbour advertisement", six_to(group6(2, 1), 58, icmp_of(kSix, 136, 0, pattern(24))), TS_CLASS_DATAGRAM,
           58, 54, 32),
      each("router advertisement", six_to(group6(2, 1), 58, icmp_of(kSix, 134, 0, {})), TS_CLASS_DATAGRAM, 58, 54, 8),
      soft("router solicitation", six_to(group6(2, 2), 58, icmp_of(kSix, 133, 0, {})), 58),
      each("multicast of site scope", six_to(group6(5, 2), 17, udp), TS_CLASS_DATAGRAM, 17, 54, 38),
      soft("mld report", six_to(group6(2, 0x16), 0, report), 58),
      soft("mld report to one address", six(0, report), 58),
      soft("mdns over ipv6", six_to(group6(2, 0xfb), 17, udp), 17),
      soft("echo to the link's nodes", six_to(group6(2, 1), 58, icmp_of(kSix, 128, 7, {})), 58),
      soft("multicast of interface scope", six_to(group6(1, 1), 17, udp), 17),
      fragment_soft,
      overlong,
      other,
      short_header,
  };
}

Cases ethernet_cases() {
  const auto plain = [](const char* name, Bytes frame, ts_class expected, std::size_t offset, std::size_t bytes) {
    return PacketCase{.name = name,
                      .frame = std::move(frame),
                      .expected = expected,
                      .payload_offset = offset,
                      .payload_bytes = bytes,
                      .family = 0};
  };
  const Bytes tcp = packet_of(Ip4{.protocol = 6}, segment_of({.payload = pattern(9)}));
  const Bytes tcp6 = packet_of(Ip6{.next = 6}, segment_of({.ends = kSix, .payload = pattern(9)}));
  const auto tagged = [](const char* name, Ends ends, const Bytes& packet, std::vector<Tag> tags,
                         std::vector<std::uint16_t> vlans) {
    const std::size_t headers = 14 + 4 * tags.size() + (ends.family == 6 ? 60 : 40);
    return PacketCase{.name = name,
                      .frame = frame_of(ends, packet, std::move(tags)),
                      .expected = TS_CLASS_TCP,
                      .payload_offset = headers,
                      .payload_bytes = 9,
                      .family = ends.family,
                      .protocol = 6,
                      .vlans = std::move(vlans)};
  };
  PacketCase three = plain("three tags", frame_of(kFour, tcp, {{5}, {6}, {7}}), TS_CLASS_OTHER, 22, 4 + tcp.size());
  three.vlans = {5, 6};
  PacketCase tagged_arp =
      plain("arp in a VLAN", ethernet(kBroadcast, kVmMac, 0x8100, concat({bytes_of({0, 9, 8, 6}), pattern(46)})),
            TS_CLASS_ARP, 18, 28);
  tagged_arp.vlans = {9};
  PacketCase tagged_soft =
      plain("lldp in a VLAN", ethernet(kLldp, kVmMac, 0x8100, concat({bytes_of({0, 9, 0x88, 0xcc}), pattern(46)})),
            TS_CLASS_SOFT, 18, 46);
  tagged_soft.vlans = {9};
  return {
      tagged("tcp in a VLAN", kFour, tcp, {{5}}, {5}),
      tagged("tcp over ipv6 in a VLAN", kSix, tcp6, {{4094}}, {4094}),
      tagged("tcp in a VLAN, with a priority", kFour, tcp, {{0xe005}}, {5}),
      tagged("tcp with only a priority", kFour, tcp, {{0x6000}}, {}),
      tagged("tcp in QinQ", kFour, tcp, {{7, 0x88a8}, {5}}, {0x1007, 5}),
      tagged("tcp over ipv6 in QinQ", kSix, tcp6, {{7, 0x88a8}, {5}}, {0x1007, 5}),
      tagged("tcp in a VLAN behind a priority", kFour, tcp, {{0x2000}, {5}}, {5}),
      three,
      tagged_arp,
      tagged_soft,
      plain("a tag cut short", ethernet(kClientMac, kVmMac, 0x8100, bytes_of({0, 5, 8})), TS_CLASS_OTHER, 14, 3),
      plain("arp", ethernet(kBroadcast, kVmMac, 0x0806, pattern(46)), TS_CLASS_ARP, 14, 28),
      plain("arp, cut short", ethernet(kBroadcast, kVmMac, 0x0806, pattern(27)), TS_CLASS_OTHER, 14, 27),
      plain("lldp", ethernet(kLldp, kVmMac, 0x88cc, pattern(60)), TS_CLASS_SOFT, 14, 60),
      plain("spanning tree, with a length for a type", ethernet({1, 0x80, 0xc2, 0, 0, 0}, kVmMac, 38, pattern(46)),
            TS_CLASS_SOFT, 14, 46),
      plain("another kind", ethernet(kClientMac, kVmMac, 0x88cc, pattern(60)), TS_CLASS_OTHER, 14, 60),
      plain("another kind, broadcast", ethernet(kBroadcast, kVmMac, 0x8035, pattern(46)), TS_CLASS_OTHER, 14, 46),
      plain("ipv6 to a group that is none", ethernet(kGroup, kVmMac, 0x86dd, pattern(39)), TS_CLASS_OTHER, 14, 39),
      plain("nothing but a header", ethernet(kClientMac, kVmMac, 0x88b5, {}), TS_CLASS_OTHER, 14, 0),
  };
}

}  // namespace

std::vector<PacketCase> packet_table() {
  Cases all;
  for (auto part : {tcp_cases(), ipv4_cases(), quote_cases(), ipv6_cases(), ethernet_cases()})
    std::move(part.begin(), part.end(), std::back_inserter(all));
  return all;
}

}  // namespace twinstep::test
