// SPDX-License-Identifier: Apache-2.0
// The subcommands. Each runs until its time is over or a stop signal comes, and returns its report.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "core/result.hpp"

namespace twinstep::lab {

struct StreamOptions {
  sockaddr_in address{};
  std::uint64_t seconds = 20;
  std::uint64_t bytes_per_second = 2'000'000;
  std::uint64_t seed = 1;
};

/// One paced download on one connection. A stop signal ends it at once.
nlohmann::json run_stream(const StreamOptions& options);

struct RequestsOptions {
  sockaddr_in address{};
  std::uint64_t seconds = 20;
  std::uint64_t interval_ms = 100;
  std::uint64_t bytes = 10'000;  // of each body
};

/// A request on a new connection every interval, however long the earlier ones take. The first stop signal starts no
/// more of them and waits for those under way; the second gives those up.
nlohmann::json run_requests(const RequestsOptions& options);

enum class ProbeKind : std::uint8_t { kIcmp, kUdp };

struct ProbeOptions {
  ProbeKind kind = ProbeKind::kIcmp;
  sockaddr_in address{};
  std::uint64_t seconds = 20;
  std::uint64_t interval_ms = 100;
  std::uint64_t bytes = 56;  // payload of each datagram, at least 8
};

/// Echo requests (RFC 792) or datagrams to a UDP echo port, every interval; each answer's payload is checked.
Result<nlohmann::json> run_probe(const ProbeOptions& options);

}  // namespace twinstep::lab
