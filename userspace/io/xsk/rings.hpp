// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xdp/xsk.h>

#include <cstddef>
#include <cstdint>

#include "core/result.hpp"

namespace twinstep::io {

/// Gives an AF_XDP socket a ring. option: XDP_RX_RING, XDP_TX_RING, XDP_UMEM_FILL_RING or XDP_UMEM_COMPLETION_RING.
/// entries: a power of two.
Result<void> set_ring(int socket_fd, int option, std::uint32_t entries);

/// A ring of a socket, mapped. The views are libxdp's, whose inline functions work on them. libxdp makes the rings of a
/// socket too, but not for several sockets on one queue of a device that shares its memory with another device.
class MappedRing {
 public:
  MappedRing() = default;
  ~MappedRing();
  MappedRing(const MappedRing&) = delete;
  MappedRing& operator=(const MappedRing&) = delete;

  /// set_ring() and map it. User space fills XDP_TX_RING and XDP_UMEM_FILL_RING (see producer()), and empties the
  /// others.
  Result<void> open(int socket_fd, int option, std::uint32_t entries);

  xsk_ring_prod& producer() { return producer_; }
  xsk_ring_cons& consumer() { return consumer_; }
  const xsk_ring_prod& producer() const { return producer_; }

 private:
  void* map_ = nullptr;
  std::size_t map_bytes_ = 0;
  xsk_ring_prod producer_{};
  xsk_ring_cons consumer_{};
};

}  // namespace twinstep::io
