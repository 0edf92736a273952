// SPDX-License-Identifier: Apache-2.0
#include "io/xsk/device_queue.hpp"

#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

constexpr std::uint32_t kUnusedRingEntries = 64;

}  // namespace

Result<std::unique_ptr<DeviceQueue>> DeviceQueue::open(Umem& umem, ChunkPool& pool, const std::string& device,
                                                       std::uint32_t queue, const Rings& rings, Use use) {
  const auto id = umem.new_queue_id();
  if (!id) return fail("too many queues of devices are open for AF_XDP");
  std::unique_ptr<DeviceQueue> self(new DeviceQueue(umem, pool, device, queue, rings, *id));
  if (auto done = self->bind(); !done) return tl::unexpected(done.error());
  if (use == Use::both) self->refill();
  return self;
}

Result<void> DeviceQueue::bind() {
  socket_.reset(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket_) return fail_os("cannot open an AF_XDP socket (needs CAP_NET_RAW)");
  const auto rings =
      fill_.open(socket_.get(), XDP_UMEM_FILL_RING, rings_.fill_entries)
          .and_then([&] { return completion_.open(socket_.get(), XDP_UMEM_COMPLETION_RING, Umem::kRingEntries); })
          .and_then([&] { return set_ring(socket_.get(), XDP_TX_RING, kUnusedRingEntries); });
  if (!rings) return rings;
  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_ifindex = ::if_nametoindex(device_.c_str());
  address.sxdp_queue_id = queue_;
  address.sxdp_flags = XDP_SHARED_UMEM;
  address.sxdp_shared_umem_fd = static_cast<std::uint32_t>(umem_.fd());
  if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail_os("cannot open queue " + std::to_string(queue_) + " of " + device_ +
                   " for AF_XDP (is another program's socket there, or is this not root?)");
  return {};
}

DeviceQueue::~DeviceQueue() {
  socket_.reset();
  umem_.end_queue(id_);
}

void DeviceQueue::refill() {
  const std::lock_guard lock(mutex_);
  auto& ring = fill_.producer();
  const auto wanted =
      static_cast<std::uint32_t>(std::min<std::size_t>(xsk_prod_nb_free(&ring, ring.size), pool_.free_chunks()));
  std::uint32_t index = 0;
  if (wanted == 0 || xsk_ring_prod__reserve(&ring, wanted, &index) != wanted) return;
  for (std::uint32_t i = 0; i < wanted; ++i) *xsk_ring_prod__fill_addr(&ring, index + i) = *pool_.take();
  xsk_ring_prod__submit(&ring, wanted);
}

void DeviceQueue::reap(ChunkPool& own) {
  const std::lock_guard lock(mutex_);
  auto& ring = completion_.consumer();
  std::uint32_t index = 0;
  const std::uint32_t count = xsk_ring_cons__peek(&ring, ring.size, &index);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t address = *xsk_ring_cons__comp_addr(&ring, index + i);
    if (own.contains(address))
      own.take_back(address);
    else
      umem_.pool_of(address).take_back_from_afar(address);
  }
  xsk_ring_cons__release(&ring, count);
}

}  // namespace twinstep::io
