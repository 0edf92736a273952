// SPDX-License-Identifier: Apache-2.0
#include "io/xsk/xsk_socket.hpp"

#include <linux/if_xdp.h>
#include <sys/socket.h>

#include <algorithm>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

/// The kernel copies at most this many frames per system call.
constexpr std::uint32_t kKickBatch = 32;
/// Kicks in a row that send nothing before the device counts as stuck. A busy one takes something within a few.
constexpr int kFutileKicksMax = 64;

bool may_succeed_later(int error) {
  return error == EAGAIN || error == EBUSY || error == ENOBUFS || error == EINTR;
}

}  // namespace

Result<std::unique_ptr<XskSocket>> XskSocket::open(Umem& umem, const std::string& device, Use use) {
  std::unique_ptr<XskSocket> self(new XskSocket(umem));
  xsk_socket_config config{};
  config.rx_size = Umem::kRingEntries;
  config.tx_size = Umem::kRingEntries;
  config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
  config.bind_flags = XDP_USE_NEED_WAKEUP | XDP_COPY;
  auto* receive = use == Use::both ? &self->receive_ : nullptr;
  const int error = xsk_socket__create_shared(&self->socket_, device.c_str(), 0, umem.umem_, receive, &self->transmit_,
                                              &self->fill_, &self->completion_, &config);
  if (error != 0)
    return fail_os("cannot open an AF_XDP socket on queue 0 of " + device +
                       " (is another program's socket there, or is this not root?)",
                   -error);
  if (use == Use::both) self->offer_chunks();
  return self;
}

XskSocket::~XskSocket() {
  if (socket_ != nullptr) xsk_socket__delete(socket_);
}

void XskSocket::offer_chunks() {
  const auto wanted = static_cast<std::uint32_t>(
      std::min<std::size_t>(xsk_prod_nb_free(&fill_, Umem::kRingEntries), umem_.free_chunks()));
  std::uint32_t index = 0;
  if (wanted == 0 || xsk_ring_prod__reserve(&fill_, wanted, &index) != wanted) return;
  for (std::uint32_t i = 0; i < wanted; ++i) *xsk_ring_prod__fill_addr(&fill_, index + i) = *umem_.take();
  xsk_ring_prod__submit(&fill_, wanted);
}

void XskSocket::receive(std::vector<Frame>& out, std::size_t frames_max) {
  std::uint32_t index = 0;
  const std::uint32_t count = xsk_ring_cons__peek(&receive_, static_cast<std::uint32_t>(frames_max), &index);
  for (std::uint32_t i = 0; i < count; ++i) {
    const xdp_desc* descriptor = xsk_ring_cons__rx_desc(&receive_, index + i);
    out.push_back({descriptor->addr, descriptor->len});
  }
  xsk_ring_cons__release(&receive_, count);
  offer_chunks();
}

bool XskSocket::send(Frame frame) {
  std::uint32_t index = 0;
  if (xsk_ring_prod__reserve(&transmit_, 1, &index) != 1) {
    flush();
    if (xsk_ring_prod__reserve(&transmit_, 1, &index) != 1) return false;
  }
  *xsk_ring_prod__tx_desc(&transmit_, index) = xdp_desc{.addr = frame.address, .len = frame.length, .options = 0};
  xsk_ring_prod__submit(&transmit_, 1);
  if (++queued_ >= kKickBatch) flush();
  return true;
}

bool XskSocket::send_copy(std::span<const std::byte> bytes) {
  if (bytes.size() > Umem::kChunkBytes - Umem::kHeadroomBytes) return false;
  const auto chunk = umem_.take();
  if (!chunk) return false;
  const Frame frame{*chunk + Umem::kHeadroomBytes, static_cast<std::uint32_t>(bytes.size())};
  std::ranges::copy(bytes, umem_.bytes(frame.address, frame.length).begin());
  if (send(frame)) return true;
  umem_.give(*chunk);
  return false;
}

void XskSocket::flush() {
  queued_ = 0;
  reap();
  for (int futile = 0; unsent() > 0 && futile < kFutileKicksMax;) {
    const std::uint32_t before = unsent();
    const bool stuck = ::sendto(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0) < 0 && !may_succeed_later(errno);
    reap();
    if (stuck) return;
    futile = unsent() < before ? 0 : futile + 1;
  }
}

std::uint32_t XskSocket::unsent() const {
  return *transmit_.producer - __atomic_load_n(transmit_.consumer, __ATOMIC_ACQUIRE);
}

void XskSocket::reap() {
  std::uint32_t index = 0;
  const std::uint32_t count = xsk_ring_cons__peek(&completion_, Umem::kRingEntries, &index);
  for (std::uint32_t i = 0; i < count; ++i) umem_.give(*xsk_ring_cons__comp_addr(&completion_, index + i));
  xsk_ring_cons__release(&completion_, count);
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
