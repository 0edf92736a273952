// SPDX-License-Identifier: Apache-2.0
#include "io/packet/group_socket.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "bpf/abi/twinstep_abi.h"
#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

constexpr int kReceiveBytes = 1 << 20;
constexpr std::size_t kAddressesBytes = std::size_t{2} * ETH_ALEN;

/// Group-addressed, from the wire, and none of Twinstep's own.
constexpr std::array kFilter{
    sock_filter BPF_STMT(BPF_LD | BPF_B | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)),
    sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 5, 0),
    sock_filter BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
    sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 3),
    sock_filter BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kAddressesBytes),
    sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TS_ETHERTYPE, 1, 0),
    sock_filter BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
    sock_filter BPF_STMT(BPF_RET | BPF_K, 0),
};

template <typename Value>
Result<void> set(int fd, int level, int option, const Value& value, const char* what) {
  if (::setsockopt(fd, level, option, &value, sizeof(value)) != 0) return fail_os(std::string("cannot ") + what);
  return {};
}

/// The VLAN tag that the kernel took out of the frame, as it stood in it: TPID and TCI.
std::optional<std::array<std::uint16_t, 2>> vlan_tag_be(msghdr& message) {
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_PACKET || each->cmsg_type != PACKET_AUXDATA) continue;
    tpacket_auxdata data{};
    std::memcpy(&data, CMSG_DATA(each), sizeof(data));
    if ((data.tp_status & TP_STATUS_VLAN_VALID) == 0) return std::nullopt;
    const bool has_tpid = (data.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
    return std::array{htons(has_tpid ? data.tp_vlan_tpid : static_cast<std::uint16_t>(ETH_P_8021Q)),
                      htons(data.tp_vlan_tci)};
  }
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<GroupSocket>> GroupSocket::open(const std::string& device, const MacAddress& vm_mac) {
  const auto ifindex = device_index(device);
  if (!ifindex) return tl::unexpected(ifindex.error());
  std::unique_ptr<GroupSocket> self(new GroupSocket(vm_mac));
  self->fd_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!self->fd_) return fail_os("cannot open a packet socket (needs CAP_NET_RAW)");
  const auto ready = self->configure().and_then([&] { return self->bind(*ifindex); });
  if (!ready) return fail(ready.error().message + ", on " + device);
  return self;
}

/// Before bind(): until then the socket receives nothing.
Result<void> GroupSocket::configure() {
  sock_fprog program{};
  program.len = kFilter.size();
  program.filter = const_cast<sock_filter*>(kFilter.data());
  return set(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, program, "filter a packet socket")
      .and_then([&] { return set(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, kReceiveBytes, "size a packet socket"); })
      .and_then([&] { return set(fd_.get(), SOL_PACKET, PACKET_AUXDATA, 1, "ask a packet socket for VLAN tags"); });
}

Result<void> GroupSocket::bind(int ifindex) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = ifindex;
  if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail_os("cannot bind a packet socket");
  return {};
}

std::optional<std::span<const std::byte>> GroupSocket::receive() {
  for (;;) {
    iovec data{buffer_.data() + kVlanTagBytes, kFrameBytesMax};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(tpacket_auxdata))> control;
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto received = ::recvmsg(fd_.get(), &message, 0);
    if (received < 0) return std::nullopt;
    auto frame = std::span(buffer_).subspan(kVlanTagBytes, static_cast<std::size_t>(received));
    if (frame.size() < ETH_HLEN || std::memcmp(&frame[ETH_ALEN], vm_mac_.data(), ETH_ALEN) == 0) continue;
    const auto tag = vlan_tag_be(message);
    if (!tag) return frame;
    std::memmove(buffer_.data(), frame.data(), kAddressesBytes);
    std::memcpy(buffer_.data() + kAddressesBytes, tag->data(), kVlanTagBytes);
    return std::span(buffer_).first(kVlanTagBytes + frame.size());
  }
}

std::uint64_t GroupSocket::take_lost() {
  tpacket_stats statistics{};
  socklen_t length = sizeof(statistics);
  if (::getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &length) != 0) return 0;
  return statistics.tp_drops;
}

}  // namespace twinstep::io
