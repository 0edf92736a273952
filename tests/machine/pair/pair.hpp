// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/time.hpp"
#include "memory/primary_memory.hpp"
#include "memory/secondary_memory.hpp"
#include "qemu-glue/state/device_state.hpp"
#include "vm_fixture.hpp"

namespace twinstep::machine_test {

/// The value, or the Error thrown.
template <typename T>
T value(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// One checkpoint, as it was measured.
struct Measured {
  Nanos stop_ns = 0;
  Nanos save_ns = 0;
  Nanos scan_ns = 0;
  Nanos copy_ns = 0;
  Nanos cont_ns = 0;
  Nanos pause_ns = 0;        ///< from before the PVM's stop until it runs again
  Nanos prestage_ns = 0;     ///< copying beside the running PVM, before its stop
  Nanos commit_ns = 0;       ///< from the pause's end until the secondary has all of it
  Nanos apply_ns = 0;        ///< from there until the SVM runs
  Nanos svm_stopped_ns = 0;  ///< from before the SVM's stop until it runs
  std::uint64_t pages_dirty = 0;
  std::uint64_t pages_copied = 0;  ///< within the pause
  std::uint64_t pages_svm = 0;     ///< written by the SVM
  memory::SentInfo sent;
};

/// A PVM, an SVM, and what protects the one by the other, as the two daemons do it, in one process.
class Pair {
 public:
  static constexpr std::uint64_t kGeneration = 7;

  /// `make_spec`: of a VM in this run directory, on this tap, paused or not. `rule`: by which pages are compressed.
  using MakeSpec =
      std::function<qemu::VmSpec(const std::filesystem::path& run_dir, const io::UniqueFd& tap, bool paused)>;
  Pair(const MakeSpec& make_spec, std::size_t epoch_bytes_max,
       const checkpoint::PackRule& rule = checkpoint::PackRule());

  Side& pvm() { return pvm_; }
  Side& svm() { return svm_; }
  memory::SecondaryMemory& secondary() { return secondary_; }
  /// Whether pages are compressed at present.
  bool packs() const { return sender_.packs(); }

  /// Live rounds until few pages are left. Returns what each sent and left.
  std::vector<memory::LiveRound> live_sync();

  /// Looks at the stopped PVM at the end of its pause; not counted in the pause.
  using OnPaused = std::function<void()>;
  /// Looks at the stopped SVM: "apply" before it loads its device state, "load" afterwards.
  using OnSvm = std::function<void(const char* step)>;
  /// One checkpoint in the design's order. verify: with checksums of all pages, compared on the secondary.
  Measured checkpoint(const std::string& meta, const OnPaused& on_paused = {}, const OnSvm& on_svm = {},
                      bool verify = false);
  /// A model of the procedure of QEMU's COLO: all that either wrote is sent while the VM stands still, and it goes on
  /// when the peer has written it and loaded the device state. From RAM to the stream without a copy between. The SVM
  /// is stopped before the pause, as in checkpoint().
  Measured peer_checkpoint();
  std::uint32_t epoch() const { return epoch_; }

 private:
  std::future<Result<memory::Received>> receive();
  void apply_and_continue(const OnSvm& on_svm, Measured& measured, Nanos committed, Nanos svm_stop);

  TempDir pvm_dir_;
  TempDir svm_dir_;
  io::UniqueFd pvm_tap_ = make_isolated_tap();
  io::UniqueFd svm_tap_ = make_isolated_tap();
  Side pvm_;
  Side svm_;
  memory::PrimaryMemory primary_;
  memory::SecondaryMemory secondary_;
  qemu::StateSaver saver_;
  qemu::StateLoader loader_;
  std::pair<io::UniqueFd, io::UniqueFd> stream_;
  memory::ImageSender sender_;
  std::uint32_t epoch_ = 0;
};

}  // namespace twinstep::machine_test
