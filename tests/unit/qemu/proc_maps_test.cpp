// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/proc_maps.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

namespace twinstep::qemu {
namespace {

TEST(ProcMaps, ReadsALine) {
  ProcMapping mapping;
  ASSERT_TRUE(parse_proc_mapping(
      "7f0000000000-7f0010000000 rw-s 00000000 00:01 2051                       /memfd:memory-backend-memfd (deleted)",
      mapping));
  EXPECT_EQ(mapping.start, 0x7f0000000000U);
  EXPECT_EQ(mapping.end, 0x7f0010000000U);
  EXPECT_EQ(mapping.inode, 2051U);
  EXPECT_EQ(mapping.permissions, "rw-s");
  EXPECT_EQ(mapping.path, "/memfd:memory-backend-memfd (deleted)");
  ASSERT_TRUE(parse_proc_mapping("1000-2000 rw-p 00000000 00:00 0 ", mapping));
  EXPECT_EQ(mapping.path, "");
}

TEST(ProcMaps, RefusesWhatIsNoLine) {
  ProcMapping mapping;
  for (const char* line :
       {"", "x", "1000", "1000-", "1000-2000", "1000-20g0 rw-p 0 0 0", "2000-1000 rw-p 0 0:0 0", "1-2 r 0 0:0 0"}) {
    EXPECT_FALSE(parse_proc_mapping(line, mapping)) << line;
  }
}

TEST(ProcMaps, ReadsThisProcess) {
  const auto mappings = read_proc_maps(::getpid());
  ASSERT_TRUE(mappings) << mappings.error().message;
  EXPECT_TRUE(
      std::any_of(mappings->begin(), mappings->end(), [](const auto& mapping) { return mapping.path == "[vdso]"; }));
}

TEST(ProcMaps, AProcessThatIsGoneIsAnError) {
  const auto mappings = read_proc_maps(-1);
  ASSERT_FALSE(mappings);
  EXPECT_NE(mappings.error().message.find("/proc/-1/maps"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::qemu
