// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "bpf/abi/twinstep_match.h"
#include "core/result.hpp"
#include "core/time.hpp"

namespace twinstep::io {

/// The connections that the XDP programs compare, in memory that they and user space share: TS_MATCH_FLOWS_MAX for the
/// whole host. Any thread; a connection is one thread's.
class MatchTable {
 public:
  /// The maps ts_match_index and ts_match_flows. The first must outlive the table.
  static Result<std::unique_ptr<MatchTable>> open(int index_map, int flows_map);
  ~MatchTable();
  MatchTable(const MatchTable&) = delete;
  MatchTable& operator=(const MatchTable&) = delete;

  /// A place for one more; nothing: all are in use, or were a moment ago.
  std::optional<std::uint32_t> take(Nanos now);
  ts_match_flow& at(std::uint32_t place) { return flows_[place]; }
  /// Lets the programs find it. It must be user space's and complete. False: the kernel has no room.
  bool enter(const ts_match_key& key, std::uint32_t place);
  /// Hides it again, and gives the place up. It must be user space's.
  void remove(const ts_match_key& key, std::uint32_t place, Nanos now);

  /// Leaves it to the programs.
  static void lend(ts_match_flow& flow);
  /// Takes it from them. Waits for a program that is at it, which takes microseconds.
  static void take_back(ts_match_flow& flow);

 private:
  MatchTable(int index_map, ts_match_flow* flows, std::size_t bytes);

  struct Place {
    std::uint32_t number = 0;
    Nanos usable_ns = 0;
  };
  int index_map_;
  ts_match_flow* flows_;
  std::size_t bytes_;
  std::mutex mutex_;
  std::deque<Place> free_;  // used longest ago first
};

}  // namespace twinstep::io
