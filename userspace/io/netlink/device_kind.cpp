// SPDX-License-Identifier: Apache-2.0
#include "io/netlink/device_kind.hpp"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cstring>
#include <memory>
#include <span>

#include "io/netlink/netdev.hpp"
#include "io/os_error.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {
namespace {

constexpr timeval kAnswerTimeout{.tv_sec = 2, .tv_usec = 0};
/// An answer about one device; the kernel's are of some KiB.
constexpr std::size_t kAnswerBytesMax = 32768;

struct Link {
  std::string name, kind;
  int master = 0;  // its index; 0: none
};

struct Request {
  nlmsghdr header{};
  ifinfomsg info{};
};

template <typename Visit>
void each_attribute(std::span<const std::byte> bytes, Visit visit) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr attribute{};
    std::memcpy(&attribute, bytes.data(), sizeof(attribute));
    if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > bytes.size()) return;
    visit(attribute.rta_type & NLA_TYPE_MASK, bytes.subspan(sizeof(rtattr), attribute.rta_len - sizeof(rtattr)));
    bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), RTA_ALIGN(attribute.rta_len)));
  }
}

std::string text_of(std::span<const std::byte> bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return {text, ::strnlen(text, bytes.size())};
}

Link parse(std::span<const std::byte> attributes) {
  Link link;
  each_attribute(attributes, [&](int type, std::span<const std::byte> value) {
    if (type == IFLA_IFNAME) link.name = text_of(value);
    if (type == IFLA_MASTER && value.size() == sizeof(link.master))
      std::memcpy(&link.master, value.data(), sizeof(link.master));
    if (type != IFLA_LINKINFO) return;
    each_attribute(value, [&](int inner, std::span<const std::byte> kind) {
      if (inner == IFLA_INFO_KIND) link.kind = text_of(kind);
    });
  });
  return link;
}

Result<Link> look_up(int ifindex) {
  const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return fail_os("cannot open a socket to ask for network devices");
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof(kAnswerTimeout));
  Request request;
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.info.ifi_index = ifindex;
  std::array<std::byte, kAnswerBytesMax> answer;
  const std::string what = "cannot ask what the network device " + std::to_string(ifindex) + " is";
  if (::send(fd.get(), &request, sizeof(request), 0) < 0) return fail_os(what);
  const auto got = ::recv(fd.get(), answer.data(), answer.size(), 0);
  if (got < 0) return fail_os(what);
  nlmsghdr header{};
  if (static_cast<std::size_t>(got) >= sizeof(Request)) std::memcpy(&header, answer.data(), sizeof(header));
  if (header.nlmsg_type != RTM_NEWLINK || header.nlmsg_len > static_cast<std::size_t>(got) ||
      header.nlmsg_len < sizeof(Request))
    return fail(what + ": the kernel knows none");
  return parse(std::span(answer).subspan(sizeof(Request), header.nlmsg_len - sizeof(Request)));
}

}  // namespace

Result<DeviceKind> device_kind(const std::string& name) {
  return device_index(name).and_then(look_up).and_then([](const Link& link) -> Result<DeviceKind> {
    DeviceKind kind{.kind = link.kind, .master = {}, .master_kind = {}};
    if (link.master == 0) return kind;
    const auto master = look_up(link.master);
    if (!master) return tl::unexpected(master.error());
    kind.master = master->name;
    kind.master_kind = master->kind;
    return kind;
  });
}

std::vector<std::string> device_members(const std::string& master) {
  std::vector<std::string> members;
  const auto index = device_index(master);
  const std::unique_ptr<struct if_nameindex, void (*)(struct if_nameindex*)> all(::if_nameindex(), ::if_freenameindex);
  if (!index || !all) return members;
  for (const auto* each = all.get(); each->if_index != 0; ++each)
    if (const auto link = look_up(static_cast<int>(each->if_index)); link && link->master == *index)
      members.push_back(link->name);
  return members;
}

}  // namespace twinstep::io
