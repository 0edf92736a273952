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

enum class LoadKind : std::uint8_t {
  download,    ///< one GET without end
  upload,      ///< PUTs on one connection
  requests,    ///< GETs, each on a new connection
  persistent,  ///< GETs on one connection
  udp,         ///< datagrams to the echo port
  opened,      ///< connections that the guest opens to the client
  clock,       ///< GETs of the guest's clock, on one connection: no two machines give the same answer
};

struct LoadOptions {
  LoadKind kind = LoadKind::requests;
  sockaddr_in address{};
  std::uint64_t seconds = 5;
  std::uint64_t interval_ms = 0;  // between the starts of two operations of one client, at least
  std::uint64_t clients = 1;      // each has at most one operation under way
  std::uint64_t bytes = 10'000;   // of one operation; at least 8
};

/// As many operations as the guest manages, each one checked. A stop signal ends the load when the operations under way
/// are over.
Result<nlohmann::json> run_load(const LoadOptions& options);

}  // namespace twinstep::lab
