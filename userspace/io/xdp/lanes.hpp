// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/result.hpp"

namespace twinstep::io {

/// How many frames that are compared as a whole are on their way through user space, by slot and lane, in memory shared
/// with the XDP programs (bpf/abi/twinstep_twins.h): later ones of a lane then follow them there. Any thread.
class Lanes {
 public:
  /// The map ts_lanes.
  static Result<std::unique_ptr<Lanes>> open(int map);
  ~Lanes();
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  /// One of the frames is gone. lane: ts_lane().
  void leave(std::uint32_t lane);
  /// None is on its way.
  void clear(std::uint32_t slot);

 private:
  explicit Lanes(std::uint64_t* counts) : counts_(counts) {}

  std::uint64_t* counts_;
};

}  // namespace twinstep::io
