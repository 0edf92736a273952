// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "io/xsk/device_queue.hpp"
#include "io/xsk/umem.hpp"

namespace twinstep::io {

/// One AF_XDP socket on a device's queue, with a receive and a transmit ring of its own: several VMs have one each on
/// the same queue. XDP programs and XSKMAPs are the caller's business. One thread.
class XskSocket {
 public:
  struct Frame {
    std::uint64_t address = 0;  ///< of the frame's first byte; the prefix, if any, lies right before it
    std::uint32_t length = 0;   ///< of the whole frame; beyond the first chunk it goes on as Umem::part() says
  };
  /// What the kernel dropped on its way into this socket.
  struct Losses {
    std::uint64_t ring_full = 0;  ///< nobody took frames out in time
    std::uint64_t no_chunk = 0;   ///< no chunk was offered to receive into
    std::uint64_t other = 0;      ///< too large for a chunk, and the like
  };

  /// pool: of the frames that are sent. prefix_bytes: what the XDP program puts in front of each frame that it hands to
  /// this socket. The queue and the pool must outlive the socket.
  static Result<std::unique_ptr<XskSocket>> open(DeviceQueue& queue, ChunkPool& pool, std::uint32_t prefix_bytes = 0);
  /// No XSKMAP may name the socket any more.
  ~XskSocket();
  XskSocket(const XskSocket&) = delete;
  XskSocket& operator=(const XskSocket&) = delete;

  /// To poll for received frames, and to enter into an XSKMAP.
  int fd() const { return socket_.get(); }

  /// Appends up to `frames_max` received frames to `out` and offers as many free chunks in exchange. The frames' chunks
  /// are the caller's.
  void receive(std::vector<Frame>& out, std::size_t frames_max);

  /// Queues a frame of the pool; its chunk returns there once it is sent. Sends what is queued if the ring is full.
  /// false: the device takes nothing; the chunk stays the caller's.
  bool send(Frame frame);
  /// Queues a copy of `bytes`, at most kChunkFrameBytes without Umem::fragments(). false: no chunk or no room.
  static constexpr std::size_t kChunkFrameBytes = Umem::kChunkBytes - Umem::kHeadroomBytes;
  bool send_copy(std::span<const std::byte> bytes);
  /// Makes the kernel send what is queued, and takes back chunks that are sent. Where it copies, all is sent then, or
  /// the device takes no more; with zero-copy the device is told, and chunks come back later.
  void flush();

  Losses losses() const;
  /// Whether the device reads and writes the frames' memory itself, as the kernel says.
  bool zero_copy() const;

  /// The caller will poll_device() without end: the kernel leaves the queue to it (networking/napi.rst, busy polling).
  /// An Error where the kernel can't (before 5.11, or without CONFIG_NET_RX_BUSY_POLL).
  Result<void> prefer_busy_poll();
  /// Does the driver's work on the queue, as far as there is any, on the caller's thread.
  void poll_device();
  /// Whether poll_device() has a queue to work on: a driver's that has told its number with a frame.
  bool knows_queue() const;

 private:
  XskSocket(DeviceQueue& queue, ChunkPool& pool, std::uint32_t prefix_bytes)
      : queue_(queue), pool_(pool), prefix_bytes_(prefix_bytes) {}
  Result<void> bind();
  void take_part(const xdp_desc& descriptor, std::vector<Frame>& out);
  bool write(std::span<const std::byte> bytes, Frame& frame);
  void drain();
  std::uint32_t unsent() const;
  void return_unsent();
  void return_unread();

  DeviceQueue& queue_;
  ChunkPool& pool_;
  std::uint32_t prefix_bytes_;
  UniqueFd socket_;
  MappedRing receive_, transmit_;
  std::optional<Frame> partial_;  // received so far of a frame in several parts
  std::uint64_t last_part_ = 0;   // of it
  std::uint32_t queued_ = 0;      // written to the ring since the last kick
};

}  // namespace twinstep::io
