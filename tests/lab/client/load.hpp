// SPDX-License-Identifier: Apache-2.0
// Loads that measure throughput: each client does one operation after the other for as long as the load lasts.
#pragma once

#include <cstdint>
#include <memory>

#include "commands.hpp"
#include "connection.hpp"

namespace twinstep::lab {

/// One client of a load. Blocks.
class LoadClient {
 public:
  LoadClient() = default;
  LoadClient(const LoadClient&) = delete;
  LoadClient& operator=(const LoadClient&) = delete;
  virtual ~LoadClient() = default;

  /// One operation. Returns the payload bytes that it carried; after an error the next one begins afresh.
  virtual Outcome<std::uint64_t> operate() = 0;
};

/// number: makes the client's content differ from the others'.
Result<std::unique_ptr<LoadClient>> make_load_client(const LoadOptions& options, std::uint64_t number);

}  // namespace twinstep::lab
