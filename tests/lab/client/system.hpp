// SPDX-License-Identifier: Apache-2.0
// What the client needs of the operating system: time, addresses, and being asked to stop.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "core/result.hpp"

namespace twinstep::lab {

constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

/// CLOCK_MONOTONIC in nanoseconds: the same clock in every process of the machine, so gaps and faults can be aligned.
std::uint64_t monotonic_ns();

/// Nanoseconds as milliseconds, for reports.
double to_ms(std::uint64_t duration_ns);

/// A numeric IPv4 address and a port as a socket address.
Result<sockaddr_in> parse_address(const std::string& host, std::uint16_t port);

/// From here on SIGTERM and SIGINT only raise the count that stop_requests() returns.
void count_stop_signals();
int stop_requests();

}  // namespace twinstep::lab
