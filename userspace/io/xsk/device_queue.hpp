// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "io/xsk/rings.hpp"
#include "io/xsk/umem.hpp"

namespace twinstep::io {

/// One queue of a device, opened for AF_XDP: what all sockets on it share, which is the chunks to receive into and the
/// word of what was sent. Any thread.
class DeviceQueue {
 public:
  enum class Use : std::uint8_t { both, send };  ///< send: it receives nothing and takes no chunks to receive into
  /// probed: the device reads and writes the packet memory itself if it can (zero-copy); else the kernel copies frames.
  enum class Copies : std::uint8_t { always, probed };

  /// Sizes of rings, powers of two.
  struct Rings {
    /// Chunks on offer to receive into. As many as the pool's if several VMs' sockets are here: then no VM can take
    /// more than its own ring's worth of them, and the others' frames still find chunks.
    std::uint32_t fill_entries = Umem::kRingEntries;
    /// Frames that wait in one socket.
    std::uint32_t receive_entries = Umem::kRingEntries;
  };

  /// pool: what frames are received into. umem and pool must outlive the queue.
  static Result<std::unique_ptr<DeviceQueue>> open(Umem& umem, ChunkPool& pool, const std::string& device,
                                                   std::uint32_t queue, const Rings& rings, Use use = Use::both,
                                                   Copies copies = Copies::always);
  ~DeviceQueue();
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;

  /// Offers all free chunks to receive into.
  void refill();
  /// Takes back chunks whose frames are sent. own: the caller's pool.
  void reap(ChunkPool& own);

  const std::string& device() const { return device_; }
  std::uint32_t queue() const { return queue_; }
  std::uint8_t id() const { return id_; }
  std::uint32_t receive_entries() const { return rings_.receive_entries; }
  bool zero_copy() const { return zero_copy_; }
  /// The socket that others on this queue share the rings with.
  int fd() const { return socket_.get(); }

 private:
  DeviceQueue(Umem& umem, ChunkPool& pool, std::string device, std::uint32_t queue, const Rings& rings, std::uint8_t id)
      : umem_(umem), pool_(pool), device_(std::move(device)), queue_(queue), rings_(rings), id_(id) {}
  Result<void> bind(Copies copies);
  Result<void> open_rings();
  bool bind_zero_copy();
  Result<void> bind_copying();
  int bind_socket(std::uint16_t flags, int shared_fd);
  void wait_until_sent();

  Umem& umem_;
  ChunkPool& pool_;
  std::string device_;
  std::uint32_t queue_;
  Rings rings_;
  std::uint8_t id_;
  bool zero_copy_ = false;
  UniqueFd socket_;
  std::mutex mutex_;  // guards both rings, and pool_ unless that is a VM's, of whose thread all refills are
  std::optional<MappedRing> fill_, completion_;
};

}  // namespace twinstep::io
