// SPDX-License-Identifier: Apache-2.0
#include "packet.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <array>
#include <cstring>

namespace twinstep::sim {
namespace {

constexpr std::array<std::uint8_t, 14> kEthernet = {0x02, 0, 0, 0, 0, 0xfe, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x00};
constexpr std::array<std::uint8_t, 4> kMssOption = {2, 4, 0x05, 0xb4};

template <typename Header>
void append(Bytes& out, const Header& header) {
  const std::size_t at = out.size();
  out.resize(at + sizeof header);
  std::memcpy(out.data() + at, &header, sizeof header);
}

void append_ip(Bytes& out, const FlowKey& flow, std::uint8_t protocol, std::size_t payload_bytes) {
  iphdr ip{};
  ip.version = 4;
  ip.ihl = sizeof ip / 4;
  ip.tot_len = htons(static_cast<std::uint16_t>(sizeof ip + payload_bytes));
  ip.ttl = 64;
  ip.protocol = protocol;
  std::memcpy(&ip.saddr, flow.vm_addr, sizeof ip.saddr);
  std::memcpy(&ip.daddr, flow.peer_addr, sizeof ip.daddr);
  append(out, ip);
}

void append_tcp(Bytes& out, const Packet& packet, std::size_t option_bytes) {
  tcphdr tcp{};
  tcp.source = packet.flow.vm_port_be;
  tcp.dest = packet.flow.peer_port_be;
  tcp.seq = htonl(packet.seq);
  tcp.ack_seq = htonl(packet.ack);
  tcp.window = htons(packet.window);
  const std::size_t at = out.size();
  append(out, tcp);
  out[at + 12] = static_cast<std::byte>((sizeof tcp + option_bytes) / 4 << 4);
  out[at + 13] = static_cast<std::byte>(packet.flags);
  if (option_bytes != 0) append(out, kMssOption);
}

void append_udp(Bytes& out, const Packet& packet) {
  udphdr udp{};
  udp.source = packet.flow.vm_port_be;
  udp.dest = packet.flow.peer_port_be;
  udp.len = htons(static_cast<std::uint16_t>(sizeof udp + packet.payload.size()));
  append(out, udp);
}

}  // namespace

std::string describe(const Packet& packet) {
  if (packet.kind == Packet::Kind::udp) return "datagram of " + std::to_string(packet.payload.size()) + " bytes";
  std::string flags;
  if (packet.has(compare::kSyn)) flags += " SYN";
  if (packet.has(compare::kFin)) flags += " FIN";
  if (packet.has(compare::kRst)) flags += " RST";
  return "flow " + std::to_string(ntohs(packet.flow.peer_port_be)) + " [" + std::to_string(packet.position) + "," +
         std::to_string(packet.position + packet.length()) + ")" + flags + " ack " +
         std::to_string(packet.ack_position) + " (seq " + std::to_string(packet.seq) + ", ack " +
         std::to_string(packet.ack) + ", window " + std::to_string(packet.window) + ")";
}

Bytes encode(const Packet& packet) {
  Bytes out;
  append(out, kEthernet);
  if (packet.kind == Packet::Kind::tcp) {
    const std::size_t option_bytes = packet.has(compare::kSyn) ? kMssOption.size() : 0;
    append_ip(out, packet.flow, IPPROTO_TCP, sizeof(tcphdr) + option_bytes + packet.payload.size());
    append_tcp(out, packet, option_bytes);
  } else {
    append_ip(out, packet.flow, IPPROTO_UDP, sizeof(udphdr) + packet.payload.size());
    append_udp(out, packet);
  }
  out.insert(out.end(), packet.payload.begin(), packet.payload.end());
  return out;
}

Packet decode(const compare::Frame& frame) {
  Packet packet;
  packet.flow = frame.flow;
  packet.seq = frame.tcp.seq;
  packet.ack = frame.tcp.ack;
  packet.window = frame.tcp.window;
  packet.flags = frame.tcp.flags;
  packet.payload.assign(frame.payload.begin(), frame.payload.end());
  return packet;
}

}  // namespace twinstep::sim
