// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xdp/xsk.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "io/xsk/umem.hpp"

namespace twinstep::io {

/// One AF_XDP socket on queue 0 of a device, with rings of its own, on a Umem that others share. It copies frames in
/// and out: a tap does no zero-copy, and sockets of one Umem must all work alike. XDP programs and XSKMAPs are the
/// caller's business. One thread.
class XskSocket {
 public:
  struct Frame {
    std::uint64_t address = 0;  ///< of the frame's first byte; metadata, if any, lies right before it
    std::uint32_t length = 0;
  };
  /// What the kernel dropped on its way into this socket.
  struct Losses {
    std::uint64_t ring_full = 0;  ///< nobody took frames out in time
    std::uint64_t no_chunk = 0;   ///< no chunk was offered to receive into
    std::uint64_t other = 0;      ///< too large for a chunk, and the like
  };

  enum class Use : std::uint8_t { both, send };  ///< send: it receives nothing and takes no chunks to receive into

  /// umem must outlive the socket.
  static Result<std::unique_ptr<XskSocket>> open(Umem& umem, const std::string& device, Use use = Use::both);
  ~XskSocket();
  XskSocket(const XskSocket&) = delete;
  XskSocket& operator=(const XskSocket&) = delete;

  /// To poll for received frames, and to enter into an XSKMAP.
  int fd() const { return xsk_socket__fd(socket_); }

  /// Appends up to `frames_max` received frames to `out` and offers as many free chunks in exchange. The frames' chunks
  /// are the caller's.
  void receive(std::vector<Frame>& out, std::size_t frames_max);

  /// Queues a frame; its chunk returns to the Umem once it is sent. Sends what is queued if the ring is full. false:
  /// the device takes nothing; the chunk stays the caller's.
  bool send(Frame frame);
  /// Queues a copy of `bytes`, at most Umem::kChunkBytes - Umem::kHeadroomBytes. false: no chunk or no room.
  bool send_copy(std::span<const std::byte> bytes);
  /// Makes the kernel send what is queued, and takes back chunks that are sent. Returns when all is sent or the device
  /// takes no more.
  void flush();

  Losses losses() const;

 private:
  explicit XskSocket(Umem& umem) : umem_(umem) {}
  void offer_chunks();
  void reap();
  std::uint32_t unsent() const;

  Umem& umem_;
  xsk_socket* socket_ = nullptr;
  xsk_ring_cons receive_{};
  xsk_ring_prod transmit_{};
  xsk_ring_prod fill_{};
  xsk_ring_cons completion_{};
  std::uint32_t queued_ = 0;  // written to the ring since the last kick
};

}  // namespace twinstep::io
