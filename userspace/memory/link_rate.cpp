// SPDX-License-Identifier: Apache-2.0
#include "memory/link_rate.hpp"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

namespace twinstep::memory {

std::uint64_t delivery_rate(int socket) {
  tcp_info info{};
  socklen_t bytes = sizeof(info);
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return 0;
  const bool told = bytes >= offsetof(tcp_info, tcpi_delivery_rate) + sizeof(info.tcpi_delivery_rate);
  return told ? info.tcpi_delivery_rate : 0;
}

}  // namespace twinstep::memory
