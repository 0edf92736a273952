// SPDX-License-Identifier: Apache-2.0
#include "io/netlink/reception.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <optional>
#include <string>

#include "io/netlink/veth.hpp"

namespace twinstep::io {
namespace {

constexpr MacAddress kVmMac{0x52, 0x54, 0x00, 0x77, 0x00, 0x10};

/// The unicast and multicast addresses that the device receives for besides its own, as iproute2 lists them.
std::string received_addresses(const std::string& device) {
  std::string text;
  FILE* pipe = ::popen(("bridge fdb show dev " + device).c_str(), "r");
  std::array<char, 256> line{};
  while (pipe != nullptr && std::fgets(line.data(), line.size(), pipe) != nullptr) text += line.data();
  if (pipe != nullptr) ::pclose(pipe);
  return text;
}

TEST(Reception, a_device_receives_for_a_vm_as_long_as_it_lasts) {
  const auto pair = VethPair::create("rec0", "rec1", 1500);
  ASSERT_TRUE(pair) << pair.error().message;
  ASSERT_EQ(received_addresses("rec0").find("52:54:00:77:00:10"), std::string::npos);
  {
    const auto reception = Reception::open("rec0", kVmMac);
    ASSERT_TRUE(reception) << reception.error().message;
    EXPECT_NE(received_addresses("rec0").find("52:54:00:77:00:10"), std::string::npos);
  }
  EXPECT_EQ(received_addresses("rec0").find("52:54:00:77:00:10"), std::string::npos);
}

TEST(Reception, an_unknown_device_is_named) {
  const auto reception = Reception::open("no-such-dev", kVmMac);
  ASSERT_FALSE(reception);
  EXPECT_NE(reception.error().message.find("no-such-dev"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::io
