// SPDX-License-Identifier: Apache-2.0
#include "io/xsk/device_queue.hpp"

#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kUnusedRingEntries = 64;
constexpr auto kPause = 1ms;
/// A device lets go of a queue some time after its last socket is closed.
constexpr auto kBusyPatience = 1s;
/// A device at work sends all that it has taken within.
constexpr auto kSendPatience = 1s;

}  // namespace

Result<std::unique_ptr<DeviceQueue>> DeviceQueue::open(Umem& umem, ChunkPool& pool, const std::string& device,
                                                       std::uint32_t queue, const Rings& rings, Use use,
                                                       Copies copies) {
  const auto id = umem.new_queue_id();
  if (!id) return fail("too many queues of devices are open for AF_XDP");
  std::unique_ptr<DeviceQueue> self(new DeviceQueue(umem, pool, device, queue, rings, *id));
  if (auto done = self->bind(copies); !done) return tl::unexpected(done.error());
  if (use == Use::both) self->refill();
  return self;
}

Result<void> DeviceQueue::bind(Copies copies) {
  zero_copy_ = copies == Copies::probed && bind_zero_copy();
  return zero_copy_ ? Result<void>{} : bind_copying();
}

Result<void> DeviceQueue::open_rings() {
  fill_.emplace();
  completion_.emplace();
  socket_.reset(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket_) return fail_os("cannot open an AF_XDP socket (needs CAP_NET_RAW)");
  return fill_->open(socket_.get(), XDP_UMEM_FILL_RING, rings_.fill_entries)
      .and_then([&] { return completion_->open(socket_.get(), XDP_UMEM_COMPLETION_RING, Umem::kRingEntries); })
      .and_then([&] { return set_ring(socket_.get(), XDP_TX_RING, kUnusedRingEntries); });
}

/// Returns 0 or an errno.
int DeviceQueue::bind_socket(std::uint16_t flags, int shared_fd) {
  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_ifindex = ::if_nametoindex(device_.c_str());
  address.sxdp_queue_id = queue_;
  address.sxdp_flags = flags;
  address.sxdp_shared_umem_fd = static_cast<std::uint32_t>(shared_fd);
  const auto until = std::chrono::steady_clock::now() + kBusyPatience;
  while (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno != EBUSY || std::chrono::steady_clock::now() > until) return errno;
    std::this_thread::sleep_for(kPause);
  }
  return 0;
}

/// The kernel knows whether the driver can. With a registration of its own: in the common one all devices must do as
/// the loopback device does, which copies.
bool DeviceQueue::bind_zero_copy() {
  const auto ready = open_rings().and_then([&] { return umem_.register_with(socket_.get()); });
  if (!ready) return false;
  const int segments = umem_.fragments() ? Umem::kUseSg : 0;
  return bind_socket(static_cast<std::uint16_t>(XDP_ZEROCOPY | XDP_USE_NEED_WAKEUP | segments), 0) == 0;
}

Result<void> DeviceQueue::bind_copying() {
  if (auto ready = open_rings(); !ready) return ready;
  if (const int error = bind_socket(XDP_SHARED_UMEM, umem_.fd()); error != 0)
    return fail_os("cannot open queue " + std::to_string(queue_) + " of " + device_ +
                       " for AF_XDP (is another program's socket there, or is this not root?)",
                   error);
  return {};
}

DeviceQueue::~DeviceQueue() {
  if (zero_copy_) wait_until_sent();
  socket_.reset();
  umem_.end_queue(id_);
}

/// What the device still reads must not be written anew.
void DeviceQueue::wait_until_sent() {
  const auto until = std::chrono::steady_clock::now() + kSendPatience;
  for (reap(pool_); umem_.lends_to(id_) && std::chrono::steady_clock::now() < until; reap(pool_))
    std::this_thread::sleep_for(kPause);
}

void DeviceQueue::refill() {
  const std::lock_guard lock(mutex_);
  auto& ring = fill_->producer();
  const auto wanted =
      static_cast<std::uint32_t>(std::min<std::size_t>(xsk_prod_nb_free(&ring, ring.size), pool_.free_chunks()));
  std::uint32_t index = 0;
  if (wanted == 0 || xsk_ring_prod__reserve(&ring, wanted, &index) != wanted) return;
  for (std::uint32_t i = 0; i < wanted; ++i) *xsk_ring_prod__fill_addr(&ring, index + i) = *pool_.take();
  xsk_ring_prod__submit(&ring, wanted);
}

void DeviceQueue::reap(ChunkPool& own) {
  const std::lock_guard lock(mutex_);
  auto& ring = completion_->consumer();
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
