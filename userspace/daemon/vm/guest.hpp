// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "daemon/config.hpp"
#include "daemon/plane/fabric.hpp"
#include "daemon/plane/planes.hpp"
#include "io/tap/tap.hpp"
#include "memory/primary_memory.hpp"
#include "memory/secondary_memory.hpp"
#include "qemu-glue/dirty/guest_ram.hpp"
#include "qemu-glue/dirty/tracking.hpp"
#include "qemu-glue/launch/process.hpp"
#include "qemu-glue/state/device_state.hpp"

namespace twinstep::daemon {

/// The VM's body on this host: its taps, its packet planes, its QEMU and its RAM. Lives from the start of QEMU to its
/// end. For one thread, which must outlive it: QEMU ends with the thread that started it.
class Guest {
 public:
  /// Starts QEMU; paused: with its vCPUs stopped, as a secondary is made. on_diverged: see Planes::create.
  static Result<std::unique_ptr<Guest>> start(const Config& host, const VmConfig& vm, std::uint16_t vm_id,
                                              FabricPlace place, bool paused, const OnNicDiverged& on_diverged);
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  qemu::QemuProcess& qemu() { return qemu_; }
  Planes& planes() { return *planes_; }
  const std::string& machine_type() const { return machine_type_; }
  /// A NIC's tap, with the offloads that are in force, which a host may be unable to give, and the guest's MTU.
  const io::Tap& tap(std::size_t nic) const { return *taps_.at(nic); }
  /// This host's end of the link.
  const io::MacAddress& link_mac() const { return link_mac_; }

  /// Planes::prove_host(), for which a VM that runs is stopped, some milliseconds unless it fails.
  Result<void> prove_host();
  Result<void> stop();
  Result<void> resume();
  /// Stops an SVM, which its input goes on to reach: QEMU is kept from taking any of it.
  Result<void> stop_as_standby();
  /// The stopped VM's device state; valid until the next call.
  Result<std::span<const std::byte>> save();
  /// Makes the stopped VM's device state equal to a saved one.
  Result<void> load(std::span<const std::byte> state);

  /// How its written pages are found; nothing before it is protected for the first time.
  std::optional<qemu::DirtyTracking> dirty_tracking() const { return tracking_; }
  /// Checksums of all pages of the stopped VM's RAM.
  Result<std::vector<std::uint64_t>> page_checksums() const;

  /// Readies the RAM for being a primary's or a secondary's, from scratch. epoch_bytes_max: most memory of one
  /// checkpoint.
  Result<void> become_primary(std::size_t epoch_bytes_max, memory::PageHashKey key);
  Result<void> become_secondary(std::size_t epoch_bytes_max, memory::PageHashKey key);
  memory::PrimaryMemory& primary() { return *primary_; }
  memory::SecondaryMemory& secondary() { return *secondary_; }

 private:
  Guest(std::vector<std::unique_ptr<io::Tap>> taps, std::unique_ptr<Planes> planes, qemu::QemuProcess qemu,
        std::uint64_t memory_bytes);
  Result<void> open_machine();
  Result<void> watch_memory();

  std::vector<std::unique_ptr<io::Tap>> taps_;  // by NIC; the planes use them where they are
  std::unique_ptr<Planes> planes_;
  qemu::QemuProcess qemu_;
  std::uint64_t memory_bytes_;
  std::string machine_type_;
  bool reader_occupied_ = false;  // QEMU has the decoy, until the VM runs
  io::MacAddress link_mac_{};
  std::optional<qemu::StateSaver> saver_;
  std::optional<qemu::StateLoader> loader_;
  std::optional<qemu::GuestRam> ram_;
  std::optional<qemu::DirtyTracking> tracking_;
  std::unique_ptr<memory::DirtySource> dirty_;
  std::optional<memory::PrimaryMemory> primary_;
  std::optional<memory::SecondaryMemory> secondary_;
};

}  // namespace twinstep::daemon
