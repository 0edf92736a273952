// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace twinstep::testing_support {

/// The two ends of the tests' link: loopback addresses of a network namespace that only this process has.
inline constexpr const char* kAddressA = "127.0.0.1";
inline constexpr const char* kAddressB = "127.0.0.2";
inline constexpr std::uint16_t kPort = 7600;

}  // namespace twinstep::testing_support
