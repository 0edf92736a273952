// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "daemon/plane/plane.hpp"
#include "daemon/vm/page_stream.hpp"
#include "io/page_stream.hpp"
#include "memory/image_sender.hpp"
#include "memory/look_pace.hpp"
#include "memory/page_hash.hpp"
#include "wire/bodies.hpp"

namespace twinstep::daemon {

/// What belongs to one attempt at protecting: what the hosts told each other, and the page stream between them.
struct Pairing {
  std::atomic<std::uint32_t> attempt{1};  ///< raised by StopStreams: what older workers post is void
  io::PageStreamToken token;              ///< which page stream belongs to this attempt
  std::array<std::uint8_t, 16> digest_seed{};
  std::optional<wire::PrepareBody> prepare;    ///< secondary: what the primary asked for
  std::optional<wire::PreparedBody> prepared;  ///< primary: the secondary's answer

  std::optional<io::PageStreamListener> listener;  ///< secondary
  Worker accepting;                                ///< secondary: waits for the primary at the listener
  std::optional<PageStream> stream;
  std::optional<memory::ImageSender> sender;  ///< primary; uses stream's socket

  memory::LookPace look_pace;  ///< primary

  std::vector<std::byte> resting_state;   ///< secondary whose SVM rests: what it would be woken with
  std::vector<EpochFlows> resting_flows;  ///< of the same image, by NIC

  std::vector<std::uint64_t> page_checksums;  ///< primary: of the paused RAM, if it is to be compared
  memory::SvmPages svm;                       ///< of the checkpoint under way, on both sides
  std::vector<EpochFlows> flows;              ///< primary: by NIC, of the epoch that PausePrimary began
  std::span<const std::byte> device_state;    ///< primary: of the same; lies in Guest until the next save
};

}  // namespace twinstep::daemon
