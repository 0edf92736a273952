// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "core/compare/comparer.hpp"
#include "packets.hpp"

namespace twinstep::test {

// What can happen on a TCP connection, written as plays: who says what, what the client hears, and what it must not.

inline constexpr std::uint8_t kFin = 0x01;
inline constexpr std::uint8_t kSyn = 0x02;
inline constexpr std::uint8_t kRst = 0x04;
inline constexpr std::uint8_t kAck = 0x10;
inline constexpr std::uint8_t kUrg = 0x20;
inline constexpr std::uint8_t kEce = 0x40;
inline constexpr std::uint8_t kCwr = 0x80;

/// Where a side begins to count.
struct Origin {
  std::uint32_t isn = 0;
  std::uint32_t clock = 0;  ///< of timestamps
};
struct Origins {
  Origin client{.isn = 5000, .clock = 700};
  Origin pvm{.isn = 1000, .clock = 10000};
  Origin svm{.isn = 0xfffff000, .clock = 90000};
};

/// A segment. Its numbers are counted from the two sides' origins, so that both VMs say the same line.
struct Line {
  std::uint32_t seq = 1;
  std::uint32_t ack = 1;
  std::uint8_t flags = kAck;
  std::uint16_t window = 500;
  std::uint16_t urgent = 0;
  std::optional<std::pair<std::uint32_t, std::uint32_t>> times{};  ///< TSval and TSecr
  std::vector<std::pair<std::uint32_t, std::uint32_t>> sacks{};    ///< edges of the blocks
  Bytes options{};                                                 ///< others, as they are: a multiple of 4 bytes
  std::string text{};
};

struct Step {
  enum class Act {
    client,      ///< says the line: it must reach both VMs, each in its own numbers
    pvm,         ///< says it
    svm,         ///< says it
    out,         ///< the client hears it, next
    quiet,       ///< the client hears nothing
    diverges,    ///< for this cause
    checkpoint,  ///< a whole one: the SVM has the PVM's numbers from here on
    recount,     ///< the sides begin to count anew from these origins
  };
  Act act;
  Line line{};
  bool quoted = false;  ///< the speaker doesn't say the line but quotes it in an ICMP error: it is the other side's
  compare::Cause cause = compare::Cause::content;
  Origins origins{};
};

struct Play {
  std::string name;  ///< of letters and digits
  std::vector<Step> steps;
  Origins origins{};
  unsigned family = 4;

  friend void PrintTo(const Play& play, std::ostream* to) { *to << play.name; }
};

/// Every feature of TCP that the comparison knows of, each with its negative.
std::vector<Play> tcp_plays();

}  // namespace twinstep::test
