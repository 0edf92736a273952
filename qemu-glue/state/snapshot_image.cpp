// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/state/snapshot_image.hpp"

#include <array>
#include <cstring>
#include <string>

namespace twinstep::qemu {
namespace {

constexpr unsigned kClusterBits = 16;
constexpr std::size_t kClusterBytes = std::size_t{1} << kClusterBits;

// The file, cluster by cluster. Every cluster is in use once, so no refcount is ever changed.
enum Cluster : std::size_t {
  kHeader,
  kRefcountTable,
  kRefcountBlock,
  kActiveL1,
  kSnapshotTable,
  kSnapshotL1,
  kSnapshotL2,
  kVmState
};
static_assert(kVmState * kClusterBytes == kVmStateOffset);

constexpr std::uint32_t kQcowMagic = 0x514649fb;  // "QFI\xfb"
constexpr std::uint32_t kQcowVersion = 3;
constexpr std::uint32_t kHeaderBytes = 104;
constexpr std::uint32_t kRefcountOrder = 4;  // 16 bits each
// A disk of one cluster has one L1 entry; the VM state begins at the L2 table after it.
constexpr std::uint64_t kDiskBytes = kClusterBytes;
constexpr std::uint32_t kSnapshotL1Entries = 2;
constexpr std::uint32_t kSnapshotExtraBytes = 24;

constexpr std::array<char, 4> kStreamMagic{'Q', 'E', 'V', 'M'};
constexpr std::size_t kStreamHeaderBytes = 8;
constexpr std::byte kSectionEnd{0x00};
constexpr std::byte kSectionDescription{0x06};
constexpr std::byte kSectionConfiguration{0x07};

// Writes big-endian fields one after the other.
class FieldWriter {
 public:
  explicit FieldWriter(std::span<std::byte> to) : to_(to) {}

  void u16(std::uint16_t value) { put(value, 2); }
  void u32(std::uint32_t value) { put(value, 4); }
  void u64(std::uint64_t value) { put(value, 8); }
  void text(std::string_view value) {
    std::memcpy(to_.data(), value.data(), value.size());
    to_ = to_.subspan(value.size());
  }

 private:
  void put(std::uint64_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) to_[i] = static_cast<std::byte>(value >> (8 * (bytes - 1 - i)));
    to_ = to_.subspan(bytes);
  }

  std::span<std::byte> to_;
};

constexpr std::uint64_t offset_of(std::size_t cluster) {
  return cluster * kClusterBytes;
}

void write_header(FieldWriter out) {
  out.u32(kQcowMagic);
  out.u32(kQcowVersion);
  out.u64(0);  // no backing file
  out.u32(0);
  out.u32(kClusterBits);
  out.u64(kDiskBytes);
  out.u32(0);  // not encrypted
  out.u32(1);  // L1 entries; the one is empty
  out.u64(offset_of(kActiveL1));
  out.u64(offset_of(kRefcountTable));
  out.u32(1);  // clusters of the refcount table
  out.u32(1);  // snapshots
  out.u64(offset_of(kSnapshotTable));
  out.u64(0);  // feature bits
  out.u64(0);
  out.u64(0);
  out.u32(kRefcountOrder);
  out.u32(kHeaderBytes);
}

void write_snapshot_entry(FieldWriter out, std::size_t vm_state_bytes_max) {
  out.u64(offset_of(kSnapshotL1));
  out.u32(kSnapshotL1Entries);
  out.u16(1);  // length of the id
  out.u16(static_cast<std::uint16_t>(kSnapshotTag.size()));
  out.u32(0);  // date
  out.u32(0);
  out.u64(0);  // VM clock
  out.u32(static_cast<std::uint32_t>(vm_state_bytes_max));
  out.u32(kSnapshotExtraBytes);
  out.u64(vm_state_bytes_max);
  out.u64(kDiskBytes);
  out.u64(~std::uint64_t{0});  // no instruction count
  out.text("1");
  out.text(kSnapshotTag);
}

}  // namespace

std::vector<std::byte> snapshot_image_head(std::size_t vm_state_bytes_max) {
  const std::size_t state_clusters = (vm_state_bytes_max + kClusterBytes - 1) / kClusterBytes;
  std::vector<std::byte> head(kVmStateOffset);
  const auto writer = [&](Cluster cluster) {
    return FieldWriter(std::span(head).subspan(offset_of(cluster), kClusterBytes));
  };

  write_header(writer(kHeader));
  writer(kRefcountTable).u64(offset_of(kRefcountBlock));
  FieldWriter refcounts = writer(kRefcountBlock);
  for (std::size_t i = 0; i < kVmState + state_clusters; ++i) refcounts.u16(1);
  write_snapshot_entry(writer(kSnapshotTable), vm_state_bytes_max);
  FieldWriter l1 = writer(kSnapshotL1);
  l1.u64(0);
  l1.u64(offset_of(kSnapshotL2));
  FieldWriter l2 = writer(kSnapshotL2);
  for (std::size_t i = 0; i < state_clusters; ++i) l2.u64(offset_of(kVmState + i));
  return head;
}

Result<void> make_vm_state(std::span<const std::byte> saved, std::string_view machine_type,
                           std::vector<std::byte>& stream) {
  if (saved.size() <= kStreamHeaderBytes || std::memcmp(saved.data(), kStreamMagic.data(), kStreamMagic.size()) != 0 ||
      saved.back() != kSectionEnd) {
    return fail("what should be a VM's device state (" + std::to_string(saved.size()) +
                " bytes) is cut short or none at all");
  }
  std::array<std::byte, 4> name_bytes{};
  FieldWriter(name_bytes).u32(static_cast<std::uint32_t>(machine_type.size()));
  const auto name = std::as_bytes(std::span(machine_type));
  const std::array<std::byte, 5> description{kSectionDescription};  // of length 0

  stream.assign(saved.begin(), saved.begin() + kStreamHeaderBytes);
  stream.push_back(kSectionConfiguration);
  stream.insert(stream.end(), name_bytes.begin(), name_bytes.end());
  stream.insert(stream.end(), name.begin(), name.end());
  stream.insert(stream.end(), saved.begin() + kStreamHeaderBytes, saved.end());
  stream.insert(stream.end(), description.begin(), description.end());
  return {};
}

}  // namespace twinstep::qemu
