// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/state/snapshot_image.hpp"

#include <gtest/gtest.h>

#include <string>

namespace twinstep::qemu {
namespace {

constexpr std::size_t kStateBytesMax = (std::size_t{1} << 20) + 1;  // 17 clusters
constexpr std::size_t kCluster = 65536;

std::uint64_t big_endian(std::span<const std::byte> bytes, std::size_t offset, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | std::to_integer<std::uint64_t>(bytes[offset + i]);
  return value;
}

// Follows the format's pointers from the header to the VM state as QEMU does (docs/interop/qcow2.txt).
TEST(SnapshotImage, LeadsToTheVmState) {
  const auto head = snapshot_image_head(kStateBytesMax);
  ASSERT_EQ(head.size(), kVmStateOffset);
  EXPECT_EQ(big_endian(head, 0, 4), 0x514649fbU);
  EXPECT_EQ(big_endian(head, 4, 4), 3U) << "version";
  EXPECT_EQ(big_endian(head, 20, 4), 16U) << "cluster bits";
  EXPECT_EQ(big_endian(head, 60, 4), 1U) << "snapshots";

  const auto snapshot = big_endian(head, 64, 8);
  const auto l1 = big_endian(head, snapshot, 8);
  EXPECT_EQ(big_endian(head, snapshot + 8, 4), 2U) << "L1 entries";
  const auto id_bytes = big_endian(head, snapshot + 12, 2);
  const auto tag_bytes = big_endian(head, snapshot + 14, 2);
  const auto extra_bytes = big_endian(head, snapshot + 36, 4);
  EXPECT_EQ(big_endian(head, snapshot + 40, 8), kStateBytesMax);
  const auto* const tag = reinterpret_cast<const char*>(head.data() + snapshot + 40 + extra_bytes + id_bytes);
  EXPECT_EQ(std::string(tag, tag_bytes), kSnapshotTag);

  EXPECT_EQ(big_endian(head, l1, 8), 0U) << "the disk is empty";
  const auto l2 = big_endian(head, l1 + 8, 8);
  for (std::size_t i = 0; i < 17; ++i) EXPECT_EQ(big_endian(head, l2 + 8 * i, 8), kVmStateOffset + i * kCluster);
  EXPECT_EQ(big_endian(head, l2 + std::size_t{8} * 17, 8), 0U);
}

TEST(SnapshotImage, CountsEachClusterOnce) {
  const auto head = snapshot_image_head(kStateBytesMax);
  const auto table = big_endian(head, 48, 8);
  const auto block = big_endian(head, table, 8);
  for (std::size_t i = 0; i < 7 + 17; ++i) EXPECT_EQ(big_endian(head, block + 2 * i, 2), 1U) << "cluster " << i;
  EXPECT_EQ(big_endian(head, block + std::size_t{2} * (7 + 17), 2), 0U);
}

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST(VmState, GetsTheMachineAndADescription) {
  const std::string saved = std::string("QEVM\0\0\0\3", 8) + "sections" + std::string(1, '\0');
  std::vector<std::byte> stream;
  ASSERT_TRUE(make_vm_state(bytes_of(saved), "pc-q35-7.2", stream));
  const std::string expected = std::string("QEVM\0\0\0\3", 8) + std::string("\x07\0\0\0\x0apc-q35-7.2", 15) +
                               "sections" + std::string("\0\x06\0\0\0\0", 6);
  EXPECT_EQ(stream, bytes_of(expected));
}

TEST(VmState, RefusesWhatIsNone) {
  std::vector<std::byte> stream;
  EXPECT_FALSE(make_vm_state({}, "x", stream));
  EXPECT_FALSE(make_vm_state(bytes_of(std::string("QEVM\0\0\0\0", 8)), "x", stream)) << "header only";
  EXPECT_FALSE(make_vm_state(bytes_of(std::string("QEVN\0\0\0\3section\0", 16)), "x", stream)) << "another magic";
  EXPECT_FALSE(make_vm_state(bytes_of("QEVM\x01\x01\x01\x03section"), "x", stream)) << "no end";
}

}  // namespace
}  // namespace twinstep::qemu
