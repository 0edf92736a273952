// SPDX-License-Identifier: Apache-2.0
#include "net_lab.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "stale_namespaces.hpp"

namespace twinstep::test {
namespace {

/// Of the namespaces' names.
constexpr const char* kPrefix = "ts-plane";
constexpr const char* kHostAddress = "10.9.0.1";
constexpr const char* kClientAddress = "10.9.0.2";
constexpr int kPatienceMs = 3000;

sockaddr_in address_of(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(9999);
  ::inet_pton(AF_INET, text, &address.sin_addr);
  return address;
}

io::UniqueFd udp_socket(const char* text) {
  io::UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto address = address_of(text);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) fd.reset();
  return fd;
}

bool passes(const io::UniqueFd& from, const io::UniqueFd& to, const char* text) {
  const auto address = address_of(text);
  char byte = 'x';
  ::sendto(from.get(), &byte, 1, 0, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  pollfd entry{to.get(), POLLIN, 0};
  return ::poll(&entry, 1, kPatienceMs) == 1 && ::recv(to.get(), &byte, 1, 0) == 1;
}

/// The kernel takes the outermost VLAN tag out of a frame and tells it apart.
void put_tag_back(Bytes& frame, msghdr& message) {
  constexpr std::ptrdiff_t kAddressesBytes = 12;
  for (const cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr;
       each = CMSG_NXTHDR(&message, const_cast<cmsghdr*>(each))) {
    if (each->cmsg_level != SOL_PACKET || each->cmsg_type != PACKET_AUXDATA) continue;
    tpacket_auxdata told{};
    std::memcpy(&told, CMSG_DATA(each), sizeof(told));
    if ((told.tp_status & TP_STATUS_VLAN_VALID) == 0) continue;
    Bytes tag(4);
    put16(tag, 0, told.tp_vlan_tpid);
    put16(tag, 2, told.tp_vlan_tci);
    frame.insert(frame.begin() + kAddressesBytes, tag.begin(), tag.end());
  }
}

}  // namespace

NetLab::NetLab(const Options& options)
    : prefix_(std::string(kPrefix) + std::to_string(::getpid())), sysfs_(options.sysfs) {
  remove_stale_namespaces(kPrefix);
  const auto number = std::to_string(options.queues);
  const std::string mtu = " mtu " + std::to_string(options.mtu);
  const std::string link_mtu = " mtu " + std::to_string(options.mtu + 100);
  const std::string queues = " numrxqueues " + number + " numtxqueues " + number + " ";
  const auto uplink_to = [&](const std::string& port) {
    return "link add uplink0" + mtu + queues + "type veth peer name " + port + mtu + queues + " netns " + name('s');
  };
  const auto in_ns = [this](char host) { return "ip -n " + name(host) + " "; };
  for (const char host : {'a', 'b', 's'}) {
    run("ip netns add " + name(host));
    run("ip netns exec " + name(host) +
        " sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
  }
  run(in_ns('a') + "link add link0" + link_mtu + queues + "type veth peer name link0" + link_mtu + queues + "netns " +
      name('b'));
  run(in_ns('s') + "link add switch type bridge");
  run(in_ns('s') + "link set switch up");
  for (const char host : {'a', 'b'}) {
    const std::string port = std::string("port-") + host;
    run(in_ns(host) + uplink_to(port));
    // A native redirect into a veth is delivered only if its peer polls, which GRO makes it do.
    run("ip netns exec " + name('s') + " ethtool -K " + port + " gro on");
    // But the client is to see the frames as they are on the wire.
    run(in_ns('s') + "link set " + port + " gro_max_size 1");
    run(in_ns('s') + "link set " + port + " master switch up");
    run(in_ns(host) + "link set uplink0 up");
    run(in_ns(host) + "link set link0 up");
  }
  run(in_ns('s') + "link add client" + mtu + queues + "type veth peer name port-c" + mtu + queues);
  run(in_ns('s') + "link set port-c master switch up");
  run(in_ns('s') + "link set client up");
  if (!failure_.empty()) return;
  be_client_on("client");
}

void NetLab::be_client_on(const std::string& device) {
  in('s', [&] {
    client_ = io::UniqueFd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(device.c_str()));
    const int on = 1;
    if (::setsockopt(client_.get(), SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) != 0 ||
        ::bind(client_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
      failure_ = "cannot bind the client's socket to " + device;
  });
}

void NetLab::give_addresses(const std::string& device) {
  run("ip -n " + name('a') + " address add " + kHostAddress + "/24 dev " + device);
  run("ip -n " + name('s') + " address add " + kClientAddress + "/24 dev client");
}

void NetLab::move_in(char host, const std::string& device, const std::string& new_name) {
  run("ip link set " + device + " down netns " + name(host) + " name " + new_name);
  run("ip -n " + name(host) + " link set " + new_name + " up");
}

bool NetLab::stacks_reach_each_other() const {
  io::UniqueFd host;
  io::UniqueFd client;
  in('a', [&] { host = udp_socket(kHostAddress); });
  in('s', [&] { client = udp_socket(kClientAddress); });
  return passes(host, client, kClientAddress) && passes(client, host, kHostAddress);
}

bool NetLab::succeeds(char host, const std::string& command) const {
  bool success = false;
  in(host, [&] { success = std::system(command.c_str()) == 0; });
  return success;
}

NetLab::~NetLab() {
  client_.reset();
  for (const char host : {'a', 'b', 's'})
    if (std::system(("ip netns del " + name(host) + " 2>/dev/null").c_str()) != 0 && failure_.empty())
      failure_ = "cannot remove a namespace";
}

std::string NetLab::name(char host) const {
  return prefix_ + host;
}

void NetLab::run(const std::string& command) {
  if (failure_.empty() && std::system(command.c_str()) != 0) failure_ = "failed: " + command;
}

void NetLab::in(char host, const std::function<void()>& work) const {
  std::exception_ptr thrown;
  std::thread([&] {
    const io::UniqueFd ns(::open(("/run/netns/" + name(host)).c_str(), O_RDONLY | O_CLOEXEC));
    if (::setns(ns.get(), CLONE_NEWNET) != 0) {
      thrown = std::make_exception_ptr(std::runtime_error("cannot enter the namespace " + name(host)));
      return;
    }
    if (sysfs_ && (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
                   ::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0)) {
      thrown = std::make_exception_ptr(std::runtime_error("cannot mount sysfs in " + name(host)));
      return;
    }
    work();
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

void NetLab::run_on(char host, const std::string& command) const {
  if (!succeeds(host, command)) throw std::runtime_error("failed: " + command);
}

void NetLab::client_send(const Bytes& frame) const {
  if (::write(client_.get(), frame.data(), frame.size()) != static_cast<ssize_t>(frame.size()))
    throw std::runtime_error("the client cannot send");
}

std::optional<Bytes> NetLab::client_receive_any(std::span<const Mac> sources,
                                                std::chrono::milliseconds patience) const {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd entry{client_.get(), POLLIN, 0};
    if (left.count() < 0 || ::poll(&entry, 1, static_cast<int>(left.count())) != 1) return std::nullopt;
    Bytes frame(16384);
    sockaddr_ll from{};
    iovec data{frame.data(), frame.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(tpacket_auxdata))> control{};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof(from);
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto bytes = ::recvmsg(client_.get(), &message, 0);
    if (bytes <= 0 || from.sll_pkttype == PACKET_OUTGOING) continue;
    frame.resize(static_cast<std::size_t>(bytes));
    put_tag_back(frame, message);
    if (std::ranges::any_of(sources, [&](const Mac& source) { return comes_from(frame, source); })) return frame;
  }
}

}  // namespace twinstep::test
