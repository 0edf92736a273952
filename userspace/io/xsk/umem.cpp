// SPDX-License-Identifier: Apache-2.0
#include "io/xsk/umem.hpp"

#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "io/os_error.hpp"
#include "io/xsk/rings.hpp"

namespace twinstep::io {
namespace {

constexpr std::uint32_t kUnusedRingEntries = 64;

}  // namespace

Result<std::unique_ptr<Umem>> Umem::create(std::span<const std::uint32_t> pools, bool fragments) {
  std::unique_ptr<Umem> self(new Umem);
  const auto chunks = std::accumulate(pools.begin(), pools.end(), std::size_t{0});
  if (auto done = self->map_and_register(chunks).and_then([&] { return self->bind(fragments); }); !done)
    return tl::unexpected(done.error());
  if (fragments) self->parts_.resize(chunks);
  std::uint32_t first = 0;
  for (const std::uint32_t size : pools) {
    self->owners_.insert(self->owners_.end(), size, static_cast<std::uint16_t>(self->pools_.size()));
    self->pools_.push_back(std::make_unique<ChunkPool>(*self, first, size));
    first += size;
  }
  return self;
}

Result<void> Umem::map_and_register(std::size_t chunks) {
  area_bytes_ = chunks * kChunkBytes;
  void* area = ::mmap(nullptr, area_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) return fail_os("cannot map " + std::to_string(area_bytes_ >> 20) + " MiB of packet memory");
  area_ = static_cast<std::byte*>(area);
  socket_.reset(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket_) return fail_os("cannot open an AF_XDP socket (needs CAP_NET_RAW)");
  return register_with(socket_.get());
}

Result<void> Umem::register_with(int socket_fd) const {
  xdp_umem_reg registration{};
  registration.addr = reinterpret_cast<std::uintptr_t>(area_);
  registration.len = area_bytes_;
  registration.chunk_size = kChunkBytes;
  if (::setsockopt(socket_fd, SOL_XDP, XDP_UMEM_REG, &registration, sizeof(registration)) != 0)
    return fail_os("cannot register " + std::to_string(area_bytes_ >> 20) +
                   " MiB of packet memory with AF_XDP (needs CAP_NET_RAW and locked memory)");
  return {};
}

Result<void> Umem::bind(bool fragments) {
  for (const int ring : {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING})
    if (auto done = set_ring(socket_.get(), ring, kUnusedRingEntries); !done) return done;
  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_ifindex = ::if_nametoindex("lo");
  address.sxdp_flags = XDP_COPY | XDP_USE_NEED_WAKEUP;
  if (fragments) address.sxdp_flags |= kUseSg;
  if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail_os(
        fragments && errno == EINVAL
            ? "the kernel has no AF_XDP frames in several buffers (XDP_USE_SG, Linux 6.6)"
            : "cannot bind an AF_XDP socket to the loopback device (does another twinstepd run in this network "
              "namespace?)");
  return {};
}

Umem::~Umem() {
  socket_.reset();
  if (area_ != nullptr) ::munmap(area_, area_bytes_);
}

std::optional<std::uint8_t> Umem::new_queue_id() {
  const std::lock_guard lock(mutex_);
  for (std::size_t id = 1; id < queue_ids_.size(); ++id) {
    if (queue_ids_[id]) continue;
    queue_ids_.set(id);
    return static_cast<std::uint8_t>(id);
  }
  return std::nullopt;
}

bool Umem::lends_to(std::uint8_t id) const {
  return std::ranges::any_of(pools_, [id](const auto& pool) { return pool->lends_to(id); });
}

void Umem::end_queue(std::uint8_t id) {
  for (const auto& pool : pools_) pool->forget(id);
  const std::lock_guard lock(mutex_);
  queue_ids_.reset(id);
}

}  // namespace twinstep::io
