// SPDX-License-Identifier: Apache-2.0
#include "core/compare/flow_key.hpp"

#include <arpa/inet.h>

#include <array>

namespace twinstep::compare {
namespace {

std::string address_text(const FlowKey& flow, const __u8* address) {
  if (flow.family == 0) return {};
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(flow.family == 4 ? AF_INET : AF_INET6, address, text.data(), text.size());
  return text.data();
}

std::string end_text(const FlowKey& flow, const __u8* address, std::uint16_t port_be) {
  const std::string text = address_text(flow, address);
  return (flow.family == 6 ? '[' + text + ']' : text) + ':' + std::to_string(ntohs(port_be));
}

}  // namespace

FlowKey FlowKey::tcp4(std::uint32_t vm_addr_be, std::uint32_t peer_addr_be, std::uint16_t vm_port_be,
                      std::uint16_t peer_port_be) {
  FlowKey flow;
  std::memcpy(flow.vm_addr, &vm_addr_be, sizeof vm_addr_be);
  std::memcpy(flow.peer_addr, &peer_addr_be, sizeof peer_addr_be);
  flow.vm_port_be = vm_port_be;
  flow.peer_port_be = peer_port_be;
  flow.family = 4;
  flow.protocol = IPPROTO_TCP;
  return flow;
}

std::string vm_address(const FlowKey& flow) {
  return address_text(flow, flow.vm_addr);
}

std::string peer_address(const FlowKey& flow) {
  return address_text(flow, flow.peer_addr);
}

std::string vlan_text(const FlowKey& flow) {
  std::string text;
  for (const unsigned tag : flow.vlan)
    if (tag != 0) text += "VLAN " + std::to_string(tag & 0xfff) + ' ';
  return text;
}

std::string describe(const FlowKey& flow) {
  return vlan_text(flow) + end_text(flow, flow.vm_addr, flow.vm_port_be) + " > " +
         end_text(flow, flow.peer_addr, flow.peer_port_be);
}

}  // namespace twinstep::compare
