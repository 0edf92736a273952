// SPDX-License-Identifier: Apache-2.0
#include "io/xsk/xsk_socket.hpp"

#include <linux/if_xdp.h>
#include <linux/membarrier.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

/// The kernel copies at most this many frames per system call.
constexpr std::uint32_t kKickBatch = 32;
/// Kicks in a row that send nothing before the device counts as stuck. A busy one takes something within a few.
constexpr int kFutileKicksMax = 64;
/// XDP_PKT_CONTD, which <linux/if_xdp.h> of Debian 12 doesn't know yet: the frame goes on in the next descriptor.
constexpr std::uint32_t kContinues = 1;
/// Any number switches it on: poll_device() never waits.
constexpr int kBusyPollUs = 20;
/// Frames that one poll_device() takes from the driver.
constexpr int kBusyPollBudget = 64;

bool may_succeed_later(int error) {
  return error == EAGAIN || error == EBUSY || error == ENOBUFS || error == EINTR;
}

/// Waits until no program runs that may still have seen the socket in an XSKMAP (membarrier(2): an RCU grace period).
void wait_for_running_programs() {
  ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

}  // namespace

Result<std::unique_ptr<XskSocket>> XskSocket::open(DeviceQueue& queue, ChunkPool& pool, std::uint32_t prefix_bytes) {
  std::unique_ptr<XskSocket> self(new XskSocket(queue, pool, prefix_bytes));
  if (auto done = self->bind(); !done) return tl::unexpected(done.error());
  return self;
}

Result<void> XskSocket::bind() {
  socket_.reset(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket_) return fail_os("cannot open an AF_XDP socket (needs CAP_NET_RAW)");
  const auto rings = receive_.open(fd(), XDP_RX_RING, queue_.receive_entries()).and_then([&] {
    return transmit_.open(fd(), XDP_TX_RING, Umem::kRingEntries);
  });
  if (!rings) return rings;
  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_ifindex = ::if_nametoindex(queue_.device().c_str());
  address.sxdp_queue_id = queue_.queue();
  address.sxdp_flags = XDP_SHARED_UMEM;
  address.sxdp_shared_umem_fd = static_cast<std::uint32_t>(queue_.fd());
  if (::bind(fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail_os("cannot share queue " + std::to_string(queue_.queue()) + " of " + queue_.device() +
                   " with AF_XDP (has the device gone and come again?)");
  return {};
}

XskSocket::~XskSocket() {
  if (!socket_) return;
  flush();
  return_unsent();
  wait_for_running_programs();
  return_unread();
}

/// Frames that the device did not take lie between the ring's two ends. One that copies nothing may be about to take
/// them: they are lent until it has sent them, or is gone.
void XskSocket::return_unsent() {
  auto& ring = transmit_.producer();
  if (ring.ring == nullptr || queue_.zero_copy()) return;
  for (std::uint32_t left = unsent(); left > 0; --left)
    pool_.take_back(xsk_ring_prod__tx_desc(&ring, *ring.producer - left)->addr);
}

void XskSocket::return_unread() {
  auto& ring = receive_.consumer();
  if (ring.ring == nullptr) return;
  std::uint32_t index = 0;
  const std::uint32_t count = xsk_ring_cons__peek(&ring, ring.size, &index);
  std::vector<Frame> frames;
  for (std::uint32_t i = 0; i < count; ++i) take_part(*xsk_ring_cons__rx_desc(&ring, index + i), frames);
  for (const Frame& frame : frames) pool_.give(frame.address);
  if (partial_) pool_.give(partial_->address);
  xsk_ring_cons__release(&ring, count);
}

void XskSocket::receive(std::vector<Frame>& out, std::size_t frames_max) {
  auto& ring = receive_.consumer();
  std::uint32_t index = 0;
  const std::uint32_t count = xsk_ring_cons__peek(&ring, static_cast<std::uint32_t>(frames_max), &index);
  for (std::uint32_t i = 0; i < count; ++i) {
    const xdp_desc* descriptor = xsk_ring_cons__rx_desc(&ring, index + i);
    take_part(*descriptor, out);
  }
  xsk_ring_cons__release(&ring, count);
  queue_.refill();
}

/// The kernel hands over the parts of a frame in a row, and all at once. The prefix is in the first.
void XskSocket::take_part(const xdp_desc& descriptor, std::vector<Frame>& out) {
  Umem& umem = pool_.umem();
  const std::uint32_t prefix = partial_ ? 0 : prefix_bytes_;
  const Frame part{.address = descriptor.addr + prefix, .length = descriptor.len - prefix};
  if (!umem.fragments()) {
    out.push_back(part);
    return;
  }
  umem.part(part.address) = {.next = 0, .bytes = part.length};
  if (partial_) {
    umem.part(last_part_).next = part.address;
    partial_->length += part.length;
  } else {
    partial_ = part;
  }
  last_part_ = part.address;
  if ((descriptor.options & kContinues) != 0) return;
  out.push_back(*partial_);
  partial_.reset();
}

bool XskSocket::send(Frame frame) {
  auto& ring = transmit_.producer();
  Umem& umem = pool_.umem();
  std::uint32_t parts = 1;
  if (umem.fragments())
    for (std::uint64_t at = umem.part(frame.address).next; at != 0; at = umem.part(at).next) ++parts;
  std::uint32_t index = 0;
  if (xsk_ring_prod__reserve(&ring, parts, &index) != parts) {
    drain();
    if (xsk_ring_prod__reserve(&ring, parts, &index) != parts) return false;
  }
  std::uint64_t at = frame.address;
  for (std::uint32_t i = 0; i < parts; ++i) {
    const Umem::Part part =
        parts == 1 ? Umem::Part{.next = 0, .bytes = frame.length} : std::exchange(umem.part(at), {});
    pool_.lend(at, queue_.id());
    *xsk_ring_prod__tx_desc(&ring, index + i) =
        xdp_desc{.addr = at, .len = part.bytes, .options = part.next != 0 ? kContinues : 0};
    at = part.next;
  }
  xsk_ring_prod__submit(&ring, parts);
  queued_ += parts;
  if (queued_ >= kKickBatch) flush();
  return true;
}

bool XskSocket::send_copy(std::span<const std::byte> bytes) {
  if (bytes.size() > kChunkFrameBytes && !pool_.umem().fragments()) return false;
  Frame frame;
  if (write(bytes, frame) && send(frame)) return true;
  if (frame.address != 0) pool_.give(frame.address);
  return false;
}

/// Into as many chunks as it takes. False: there were too few; what the frame has got so far is the caller's to give
/// back.
bool XskSocket::write(std::span<const std::byte> bytes, Frame& frame) {
  Umem& umem = pool_.umem();
  for (std::uint64_t last = 0; !bytes.empty();) {
    const auto chunk = pool_.take();
    if (!chunk) return false;
    const std::uint64_t at = *chunk + Umem::kHeadroomBytes;
    const auto part = bytes.first(std::min(bytes.size(), kChunkFrameBytes));
    std::ranges::copy(part, pool_.bytes(at, part.size()).begin());
    if (umem.fragments()) umem.part(at) = {.next = 0, .bytes = static_cast<std::uint32_t>(part.size())};
    if (last == 0)
      frame.address = at;
    else
      umem.part(last).next = at;
    frame.length += static_cast<std::uint32_t>(part.size());
    last = at;
    bytes = bytes.subspan(part.size());
  }
  return true;
}

void XskSocket::flush() {
  if (!queue_.zero_copy()) return drain();
  queued_ = 0;
  if (unsent() > 0 && xsk_ring_prod__needs_wakeup(&transmit_.producer()))
    ::sendto(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0);
  queue_.reap(pool_);
}

void XskSocket::drain() {
  queued_ = 0;
  queue_.reap(pool_);
  for (int futile = 0; unsent() > 0 && futile < kFutileKicksMax;) {
    const std::uint32_t before = unsent();
    const bool stuck = ::sendto(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0) < 0 && !may_succeed_later(errno);
    queue_.reap(pool_);
    if (stuck) return;
    futile = unsent() < before ? 0 : futile + 1;
  }
}

std::uint32_t XskSocket::unsent() const {
  const auto& ring = transmit_.producer();
  return *ring.producer - __atomic_load_n(ring.consumer, __ATOMIC_ACQUIRE);
}

Result<void> XskSocket::prefer_busy_poll() {
  const auto set = [this](int option, int value) {
    return ::setsockopt(fd(), SOL_SOCKET, option, &value, sizeof(value)) == 0;
  };
  if (set(SO_PREFER_BUSY_POLL, 1) && set(SO_BUSY_POLL, kBusyPollUs) && set(SO_BUSY_POLL_BUDGET, kBusyPollBudget))
    return {};
  return fail_os("cannot poll " + queue_.device() + " busily (needs Linux 5.11 with CONFIG_NET_RX_BUSY_POLL)");
}

void XskSocket::poll_device() {
  ::recvfrom(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
}

bool XskSocket::knows_queue() const {
  int id = 0;
  socklen_t length = sizeof(id);
  return ::getsockopt(fd(), SOL_SOCKET, SO_INCOMING_NAPI_ID, &id, &length) == 0 && id != 0;
}

bool XskSocket::zero_copy() const {
  xdp_options options{};
  socklen_t length = sizeof(options);
  return ::getsockopt(fd(), SOL_XDP, XDP_OPTIONS, &options, &length) == 0 &&
         (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
}

XskSocket::Losses XskSocket::losses() const {
  xdp_statistics statistics{};
  socklen_t length = sizeof(statistics);
  if (::getsockopt(fd(), SOL_XDP, XDP_STATISTICS, &statistics, &length) != 0) return {};
  return {.ring_full = statistics.rx_ring_full,
          .no_chunk = statistics.rx_fill_ring_empty_descs,
          .other = statistics.rx_dropped};
}

}  // namespace twinstep::io
