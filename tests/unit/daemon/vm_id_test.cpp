// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm_id.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace twinstep::daemon {
namespace {

TEST(VmId, IsNeverZeroAndSpreadsNames) {
  std::set<std::uint16_t> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(vm_id_of("vm-" + std::to_string(i)));
  EXPECT_EQ(ids.count(0), 0U);
  EXPECT_GT(ids.size(), 980U);  // 1000 names in 65535 numbers collide some 8 times
}

TEST(VmId, IsTheSameEverywhere) {
  // Both hosts compute it by themselves: it must never change.
  EXPECT_EQ(vm_id_of("web"), 49954);
}

}  // namespace
}  // namespace twinstep::daemon
