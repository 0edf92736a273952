// SPDX-License-Identifier: Apache-2.0
#include "io/netlink/veth.hpp"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "io/netlink/netdev.hpp"
#include "io/os_error.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {
namespace {

constexpr timeval kAnswerTimeout{.tv_sec = 2, .tv_usec = 0};
constexpr std::size_t kAnswerBytesMax = 4096;

/// A request of rtnetlink(7) about devices, put together attribute by attribute.
class LinkRequest {
 public:
  LinkRequest(std::uint16_t type, std::uint16_t flags) : bytes_(sizeof(nlmsghdr)) {
    header().nlmsg_type = type;
    header().nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST | NLM_F_ACK);
    add_ifinfo();
  }

  void add_ifinfo() { bytes_.resize(bytes_.size() + sizeof(ifinfomsg)); }
  void add(std::uint16_t type, const void* value, std::size_t size) {
    const std::size_t at = open(type);
    const std::size_t value_at = bytes_.size();
    bytes_.resize(value_at + size);
    std::memcpy(bytes_.data() + value_at, value, size);
    close(at);
  }
  void add(std::uint16_t type, const std::string& text) { add(type, text.c_str(), text.size() + 1); }
  void add(std::uint16_t type, unsigned number) { add(type, &number, sizeof(number)); }

  /// Attributes that are added until close() lie inside of this one.
  std::size_t open(std::uint16_t type) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof(rtattr));
    const rtattr attribute{.rta_len = 0, .rta_type = type};
    std::memcpy(bytes_.data() + at, &attribute, sizeof(attribute));
    return at;
  }
  void close(std::size_t at) {
    const auto length = static_cast<std::uint16_t>(bytes_.size() - at);
    std::memcpy(bytes_.data() + at, &length, sizeof(length));
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  }

  /// 0, or an errno.
  int run() {
    header().nlmsg_len = static_cast<std::uint32_t>(bytes_.size());
    const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!fd) return errno;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof(kAnswerTimeout));
    if (::send(fd.get(), bytes_.data(), bytes_.size(), 0) < 0) return errno;
    alignas(nlmsghdr) std::array<std::byte, kAnswerBytesMax> answer;
    const auto got = ::recv(fd.get(), answer.data(), answer.size(), 0);
    if (got < 0) return errno;
    if (static_cast<std::size_t>(got) < NLMSG_LENGTH(sizeof(nlmsgerr))) return EPROTO;
    nlmsgerr error{};
    std::memcpy(&error, answer.data() + NLMSG_HDRLEN, sizeof(error));
    return -error.error;
  }

 private:
  nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }
  std::vector<std::byte> bytes_;
};

int remove_device(const std::string& name) {
  LinkRequest request(RTM_DELLINK, 0);
  request.add(IFLA_IFNAME, name);
  return request.run();
}

int make_pair(const std::string& name, const std::string& peer_name, unsigned mtu_bytes) {
  LinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  request.add(IFLA_IFNAME, name);
  request.add(IFLA_MTU, mtu_bytes);
  const auto info = request.open(IFLA_LINKINFO);
  request.add(IFLA_INFO_KIND, "veth");
  const auto data = request.open(IFLA_INFO_DATA);
  const auto peer = request.open(VETH_INFO_PEER);
  request.add_ifinfo();
  request.add(IFLA_IFNAME, peer_name);
  request.add(IFLA_MTU, mtu_bytes);
  request.close(peer);
  request.close(data);
  request.close(info);
  return request.run();
}

}  // namespace

VethPair::VethPair(std::string name, std::string peer_name)
    : name_(std::move(name)), peer_name_(std::move(peer_name)) {}

VethPair::VethPair(VethPair&& other) noexcept
    : name_(std::exchange(other.name_, {})), peer_name_(std::exchange(other.peer_name_, {})) {}

VethPair& VethPair::operator=(VethPair&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(peer_name_, other.peer_name_);
  return *this;
}

VethPair::~VethPair() {
  if (!name_.empty()) remove_device(name_);
}

Result<VethPair> VethPair::create(const std::string& name, const std::string& peer_name, unsigned mtu_bytes) {
  int error = make_pair(name, peer_name, mtu_bytes);
  if (error == EEXIST && remove_device(name) == 0) error = make_pair(name, peer_name, mtu_bytes);
  if (error != 0)
    return fail_os("cannot make the veth devices " + name + " and " + peer_name + " (is the veth module there?)",
                   error);
  return VethPair(name, peer_name);
}

}  // namespace twinstep::io
