// SPDX-License-Identifier: Apache-2.0
#include "packet_port.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/os_error.hpp"

namespace twinstep::bench {
namespace {

constexpr unsigned kMtuBytes = 3400;
constexpr int kReceiveBytes = 256 << 20;
constexpr std::uint32_t kHeadersRead = 160;

Result<io::UniqueFd> open_socket(const std::string& device, std::uint16_t protocol, const sock_fprog* filter) {
  io::UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return io::fail_os("cannot open a packet socket (needs CAP_NET_RAW)");
  if (filter != nullptr && ::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, filter, sizeof(*filter)) != 0)
    return io::fail_os("cannot filter a packet socket");
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBytes, sizeof(kReceiveBytes));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(protocol);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(device.c_str()));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return io::fail_os("cannot bind a packet socket to " + device);
  return fd;
}

/// veth takes redirected frames only if its peer has a program.
Result<io::UniqueFd> pass_all(int ifindex) {
  const std::array code{
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
      bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  io::UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_XDP, "pass_all", "GPL", code.data(), code.size(), nullptr));
  if (!program) return io::fail_os("cannot load an XDP program");
  if (const int error = bpf_xdp_attach(ifindex, program.get(), 0, nullptr); error != 0)
    return io::fail_os("cannot attach an XDP program", -error);
  return program;
}

}  // namespace

Result<std::unique_ptr<PacketPort>> PacketPort::open(const std::string& name, const std::string& tap,
                                                     const io::MacAddress& vm_mac) {
  auto pair = io::VethPair::create(name, name + "-p", kMtuBytes);
  if (!pair) return tl::unexpected(pair.error());
  std::unique_ptr<PacketPort> self(new PacketPort(std::move(*pair), vm_mac));
  if (auto done = self->prepare(tap); !done) return tl::unexpected(done.error());
  return self;
}

Result<void> PacketPort::prepare(const std::string& tap) {
  for (const auto& device : {pair_.name(), pair_.peer_name()}) {
    io::turn_ipv6_off(device);
    if (auto done = io::set_device_up(device); !done) return done;
  }
  ifindex_ = static_cast<int>(::if_nametoindex(pair_.name().c_str()));
  auto program = pass_all(static_cast<int>(::if_nametoindex(pair_.peer_name().c_str())));
  if (!program) return tl::unexpected(program.error());
  program_ = std::move(*program);
  std::uint32_t mac_front = 0;
  std::memcpy(&mac_front, vm_mac_.data(), sizeof(mac_front));
  std::array filter{sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ETH_ALEN),
                    sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(mac_front), 0, 1),
                    sock_filter BPF_STMT(BPF_RET | BPF_K, kHeadersRead),
                    sock_filter BPF_STMT(BPF_RET | BPF_K, kFrameBytesMax)};
  const sock_fprog code{.len = filter.size(), .filter = filter.data()};
  auto in = open_socket(pair_.peer_name(), ETH_P_ALL, &code);
  if (!in) return tl::unexpected(in.error());
  auto out = open_socket(tap, 0, nullptr);
  if (!out) return tl::unexpected(out.error());
  const int on = 1;
  if (::setsockopt(out->get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) != 0)
    return io::fail_os("cannot set up a packet socket");
  in_ = std::move(*in);
  out_ = std::move(*out);
  return {};
}

void PacketPort::receive(int timeout_ms, const std::function<void(std::span<const std::byte>, bool)>& handle) {
  pollfd entry{in_.get(), POLLIN, 0};
  if (::poll(&entry, 1, timeout_ms) <= 0) return;
  std::array<iovec, kBatch> data{};
  std::array<mmsghdr, kBatch> messages{};
  for (std::size_t i = 0; i < kBatch; ++i) {
    data[i] = {buffers_[i].data(), kFrameBytesMax};
    messages[i].msg_hdr.msg_iov = &data[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  const int count = ::recvmmsg(in_.get(), messages.data(), kBatch, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::span frame(buffers_[at].data(), messages[at].msg_len);
    if (frame.size() < ETH_HLEN) continue;
    handle(frame, std::memcmp(&frame[ETH_ALEN], vm_mac_.data(), ETH_ALEN) == 0);
  }
}

bool PacketPort::deliver(const Bytes& frame) {
  return ::send(out_.get(), frame.data(), frame.size(), MSG_DONTWAIT) >= 0 ||
         (errno != ENOBUFS && errno != EAGAIN && errno != EINTR);
}

std::uint64_t PacketPort::lost() {
  tpacket_stats statistics{};
  socklen_t length = sizeof(statistics);
  if (::getsockopt(in_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &length) == 0) lost_ += statistics.tp_drops;
  return lost_;
}

}  // namespace twinstep::bench
