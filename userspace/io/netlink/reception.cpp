// SPDX-License-Identifier: Apache-2.0
#include "io/netlink/reception.hpp"

#include <linux/if_packet.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "io/os_error.hpp"

namespace twinstep::io {

Result<Reception> Reception::open(const std::string& device, const MacAddress& address) {
  const auto index = device_index(device);
  if (!index) return tl::unexpected(index.error());
  // No protocol: the socket itself receives nothing.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket) return fail_os("cannot open a packet socket for " + device);
  packet_mreq request{};
  request.mr_ifindex = *index;
  request.mr_alen = static_cast<unsigned short>(address.size());
  std::copy(address.begin(), address.end(), request.mr_address);
  for (const auto type : {PACKET_MR_UNICAST, PACKET_MR_ALLMULTI}) {
    request.mr_type = static_cast<unsigned short>(type);
    if (::setsockopt(socket.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request) != 0)
      return fail_os("cannot make " + device + " receive the VM's frames");
  }
  return Reception(std::move(socket));
}

}  // namespace twinstep::io
