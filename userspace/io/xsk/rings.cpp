// SPDX-License-Identifier: Apache-2.0
#include "io/xsk/rings.hpp"

#include <sys/mman.h>
#include <sys/socket.h>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

/// Where a ring lies in its mapping, and what it is made of (kernel: networking/af_xdp.rst, XDP_MMAP_OFFSETS).
struct Layout {
  xdp_ring_offset offsets{};
  std::uint64_t page_offset = 0;
  std::size_t entry_bytes = 0;
};

Layout layout_of(const xdp_mmap_offsets& offsets, int option) {
  switch (option) {
    case XDP_RX_RING:
      return {offsets.rx, XDP_PGOFF_RX_RING, sizeof(xdp_desc)};
    case XDP_TX_RING:
      return {offsets.tx, XDP_PGOFF_TX_RING, sizeof(xdp_desc)};
    case XDP_UMEM_FILL_RING:
      return {offsets.fr, XDP_UMEM_PGOFF_FILL_RING, sizeof(std::uint64_t)};
    default:
      return {offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(std::uint64_t)};
  }
}

}  // namespace

Result<void> set_ring(int socket_fd, int option, std::uint32_t entries) {
  if (::setsockopt(socket_fd, SOL_XDP, option, &entries, sizeof(entries)) != 0)
    return fail_os("cannot give an AF_XDP socket a ring of " + std::to_string(entries) + " entries");
  return {};
}

Result<void> MappedRing::open(int socket_fd, int option, std::uint32_t entries) {
  if (auto done = set_ring(socket_fd, option, entries); !done) return done;
  xdp_mmap_offsets all{};
  socklen_t length = sizeof(all);
  if (::getsockopt(socket_fd, SOL_XDP, XDP_MMAP_OFFSETS, &all, &length) != 0)
    return fail_os("cannot ask where an AF_XDP socket's rings lie");
  const Layout layout = layout_of(all, option);
  const std::size_t bytes = layout.offsets.desc + entries * layout.entry_bytes;
  void* map = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, socket_fd,
                     static_cast<off_t>(layout.page_offset));
  if (map == MAP_FAILED) return fail_os("cannot map an AF_XDP socket's ring");
  map_ = map;
  map_bytes_ = bytes;
  auto* base = static_cast<std::byte*>(map);
  const auto set = [&](auto& ring) {
    ring.mask = entries - 1;
    ring.size = entries;
    ring.producer = reinterpret_cast<std::uint32_t*>(base + layout.offsets.producer);
    ring.consumer = reinterpret_cast<std::uint32_t*>(base + layout.offsets.consumer);
    ring.flags = reinterpret_cast<std::uint32_t*>(base + layout.offsets.flags);
    ring.ring = base + layout.offsets.desc;
    ring.cached_prod = *ring.producer;
    ring.cached_cons = *ring.consumer;
  };
  set(producer_);
  set(consumer_);
  producer_.cached_cons = *producer_.consumer + entries;  // libxdp's: how far the producer may go
  return {};
}

MappedRing::~MappedRing() {
  if (map_ != nullptr) ::munmap(map_, map_bytes_);
}

}  // namespace twinstep::io
