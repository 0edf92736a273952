// SPDX-License-Identifier: Apache-2.0
// A guest that leaves checksums and segmentation to its host: the client gets whole frames all the same.
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "daemon/plane/fabric.hpp"
#include "daemon/plane/plane.hpp"
#include "net_lab.hpp"

namespace twinstep::test {
namespace {

using daemon::Plane;
using daemon::PlaneConfig;
using std::chrono::milliseconds;

/// In front of each frame between guest and host (virtio 1.1, 5.1.6), little-endian.
struct VirtioHeader {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t hdr_len = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;
};
static_assert(sizeof(VirtioHeader) == 10);
constexpr std::uint8_t kNeedsChecksum = 1;
constexpr std::uint8_t kSegmentTcp4 = 1;
constexpr std::uint8_t kSegmentTcp6 = 4;

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::size_t kEthernetBytes = 14;
constexpr std::uint32_t kFirstSeq = 0xfffff000;  // the stream wraps
constexpr milliseconds kQuiet{150};

/// Sum of the 16-bit words (RFC 1071), folded and not inverted.
std::uint16_t sum(std::span<const std::byte> bytes, std::uint32_t start = 0) {
  std::uint32_t total = start;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    total += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >> 16);
  return static_cast<std::uint16_t>(total);
}

struct Packet {
  int family = 4;
  std::uint8_t protocol = kTcp;
  std::uint32_t seq = kFirstSeq;
  Bytes payload;
};

std::size_t ip_bytes(int family) {
  return family == 4 ? 20 : 40;
}
std::size_t checksum_at(std::uint8_t protocol) {
  return protocol == kTcp ? 16 : 6;
}

/// What the checksum covers beside the segment (RFC 9293, 3.1; RFC 8200, 8.1).
std::uint16_t pseudo_sum(std::span<const std::byte> ip, int family, std::uint8_t protocol, std::size_t segment_bytes) {
  const auto addresses = family == 4 ? ip.subspan(12, 8) : ip.subspan(8, 32);
  return sum(addresses, std::uint32_t{protocol} + static_cast<std::uint32_t>(segment_bytes));
}

Bytes ip_header(int family, std::uint8_t protocol, std::size_t segment_bytes) {
  Bytes ip(ip_bytes(family));
  if (family == 4) {
    ip[0] = std::byte{0x45};
    put16(ip, 2, static_cast<std::uint16_t>(20 + segment_bytes));
    put16(ip, 6, 0x4000);
    ip[8] = std::byte{64};
    ip[9] = std::byte{protocol};
    put32(ip, 12, kVmAddr);
    put32(ip, 16, kClientAddr);
    put16(ip, 10, static_cast<std::uint16_t>(~sum(ip)));
    return ip;
  }
  ip[0] = std::byte{0x60};
  put16(ip, 4, static_cast<std::uint16_t>(segment_bytes));
  ip[6] = std::byte{protocol};
  ip[7] = std::byte{64};
  ip[8] = ip[24] = std::byte{0xfd};
  ip[23] = std::byte{1};
  ip[39] = std::byte{2};
  return ip;
}

/// As a guest with checksum offload sends it: the field holds the pseudo-header's sum.
Bytes unfinished(const Packet& packet) {
  Bytes segment(packet.protocol == kTcp ? 20 : 8);
  put16(segment, 0, kVmPort);
  put16(segment, 2, kClientPort);
  const std::size_t segment_bytes = segment.size() + packet.payload.size();
  if (packet.protocol == kTcp) {
    put32(segment, 4, packet.seq);
    put32(segment, 8, 77);
    segment[12] = std::byte{0x50};
    segment[13] = std::byte{0x10};
    put16(segment, 14, 500);
  } else {
    put16(segment, 4, static_cast<std::uint16_t>(segment_bytes));
  }
  const Bytes ip = ip_header(packet.family, packet.protocol, segment_bytes);
  put16(segment, checksum_at(packet.protocol), pseudo_sum(ip, packet.family, packet.protocol, segment_bytes));
  return ethernet(kClientMac, kVmMac, packet.family == 4 ? 0x0800 : 0x86dd, concat({ip, segment, packet.payload}));
}

bool is_right(std::span<const std::byte> frame, const Packet& packet) {
  const auto ip = frame.subspan(kEthernetBytes);
  const auto segment = ip.subspan(ip_bytes(packet.family));
  return sum(segment, pseudo_sum(ip, packet.family, packet.protocol, segment.size())) == 0xffff;
}

VirtioHeader header_of(const Packet& packet, std::uint16_t segment_payload_bytes = 0) {
  VirtioHeader header{};
  header.flags = kNeedsChecksum;
  header.csum_start = static_cast<std::uint16_t>(kEthernetBytes + ip_bytes(packet.family));
  header.csum_offset = static_cast<std::uint16_t>(checksum_at(packet.protocol));
  if (segment_payload_bytes == 0) return header;
  header.gso_type = packet.family == 4 ? kSegmentTcp4 : kSegmentTcp6;
  header.hdr_len = static_cast<std::uint16_t>(header.csum_start + 20);
  header.gso_size = segment_payload_bytes;
  return header;
}

class OffloadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: CAP_NET_ADMIN and CAP_BPF for namespaces and XDP";
    lab_.emplace(NetLab::Options{});
    ASSERT_EQ(lab_->failure(), "");
    lab_->in('a', [&] {
      auto tap = io::Tap::create("tap", 1500, io::GuestOffloads::on);
      ASSERT_TRUE(tap) << tap.error().message;
      tap_.emplace(std::move(*tap));
      auto fabric = daemon::Fabric::create("link0", {{"uplink0", kVmMac, 16384}});
      ASSERT_TRUE(fabric) << fabric.error().message;
      fabric_ = std::move(*fabric);
      PlaneConfig config;
      config.uplink = "uplink0";
      config.vm_mac = kVmMac;
      config.vm_id = 7;
      auto plane = Plane::create(config, *fabric_, *tap_, [](std::uint32_t, const compare::Diverged&) {});
      ASSERT_TRUE(plane) << plane.error().message;
      plane_ = std::move(*plane);
    });
    if (HasFatalFailure()) return;
    const auto key = compare::DigestKey::from_seed(std::span<const std::byte, 16>(seed_));
    ASSERT_TRUE(plane_->pair(key, 7, {}));
  }

  void guest_send(const VirtioHeader& header, const Bytes& frame) const {
    Bytes both(sizeof(header) + frame.size());
    std::memcpy(both.data(), &header, sizeof(header));
    std::ranges::copy(frame, both.begin() + sizeof(header));
    ASSERT_EQ(::write(tap_->fd(), both.data(), both.size()), static_cast<ssize_t>(both.size()));
  }

  /// The stream that the client gets, each segment with a right checksum and in order.
  Bytes client_hears(const Packet& packet, std::size_t bytes) {
    const std::size_t headers = kEthernetBytes + ip_bytes(packet.family) + 20;
    Bytes stream;
    while (stream.size() < bytes) {
      const auto frame = lab_->client_receive();
      if (!frame) break;
      EXPECT_LE(frame->size(), kEthernetBytes + 1500);
      EXPECT_TRUE(is_right(*frame, packet)) << "at " << stream.size();
      EXPECT_EQ(get32(*frame, headers - 16), static_cast<std::uint32_t>(kFirstSeq + stream.size()));
      stream.insert(stream.end(), frame->begin() + static_cast<std::ptrdiff_t>(headers), frame->end());
    }
    return stream;
  }

  const Bytes seed_ = pattern(16, 4);
  std::optional<NetLab> lab_;
  std::unique_ptr<daemon::Fabric> fabric_;
  std::optional<io::Tap> tap_;
  std::unique_ptr<Plane> plane_;
};

TEST_F(OffloadTest, PartialChecksumsAreCompleted) {
  plane_->direct();
  for (const int family : {4, 6}) {
    for (const auto protocol : {kTcp, kUdp}) {
      for (const std::size_t bytes : {0U, 1U, 999U, 1440U}) {
        const Packet packet{.family = family, .protocol = protocol, .payload = pattern(bytes)};
        const Bytes sent = unfinished(packet);
        EXPECT_FALSE(is_right(sent, packet)) << "the test's own frame must lack its checksum";
        guest_send(header_of(packet), sent);
        const auto frame = lab_->client_receive();
        ASSERT_TRUE(frame) << family << " " << int{protocol} << " " << bytes;
        EXPECT_TRUE(is_right(*frame, packet)) << family << " " << int{protocol} << " " << bytes;
        EXPECT_TRUE(std::equal(packet.payload.rbegin(), packet.payload.rend(), frame->rbegin()));
      }
    }
  }
}

TEST_F(OffloadTest, WhatTheGuestLeavesWholeIsSegmented) {
  plane_->direct();
  for (const int family : {4, 6}) {
    const Packet packet{.family = family, .protocol = kTcp, .payload = pattern(60000)};
    guest_send(header_of(packet, 1400), unfinished(packet));
    EXPECT_EQ(client_hears(packet, packet.payload.size()), packet.payload) << family;
  }
  const auto counted = plane_->stats().xdp;
  EXPECT_EQ(counted.count[TS_COUNT_TAP_DIRECT], 2U * 43);
  EXPECT_EQ(counted.count[TS_COUNT_TAP_ERROR], 0U);
}

TEST_F(OffloadTest, AFrameThatIsWholeAlreadyStaysAsItIs) {
  plane_->direct();
  Bytes wrong = frame_of(Tcp{.payload = pattern(100)});
  wrong.back() ^= std::byte{1};
  guest_send({}, wrong);
  const auto frame = lab_->client_receive();
  ASSERT_TRUE(frame);
  EXPECT_EQ(*frame, wrong) << "a checksum that the guest made itself is the guest's business";
}

TEST_F(OffloadTest, WhatTheHostItselfSaysOnTheInnerDevicesIsNotTheGuests) {
  plane_->direct();
  const Bytes frame = frame_of(Tcp{});
  const auto send_on = [&](const char* device) {
    lab_->in('a', [&] {
      const io::UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
      sockaddr_ll to{};
      to.sll_family = AF_PACKET;
      to.sll_ifindex = static_cast<int>(::if_nametoindex(device));
      // The guard's refusal is an error to the sender, which the test need not see.
      [[maybe_unused]] const auto sent =
          ::sendto(socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    });
  };
  send_on("tap-i");
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  send_on("uplink0");
  EXPECT_TRUE(lab_->client_receive()) << "the test's own way of sending works";
}

TEST_F(OffloadTest, WhatAStoppedGuestSentLastBelongsToTheOldEpoch) {
  plane_->direct();
  plane_->begin_epoch(1);
  const Packet packet{.payload = pattern(60000)};
  guest_send(header_of(packet, 1400), unfinished(packet));
  plane_->begin_epoch(2);
  EXPECT_EQ(plane_->stats().compare.frames_in, 43U) << "and the mark behind it is no frame of the guest";
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  plane_->commit(2);
  EXPECT_EQ(client_hears(packet, packet.payload.size()), packet.payload);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
}

TEST_F(OffloadTest, WhatAStoppedSvmSentLastBelongsToTheOldEpoch) {
  plane_->standby();
  ASSERT_TRUE(plane_->standby_stop(1));
  plane_->standby_begin(1, {});
  const auto before = plane_->stats().xdp.count[TS_COUNT_TAP_HELD];
  const Packet packet{.payload = pattern(60000)};
  guest_send(header_of(packet, 1400), unfinished(packet));
  ASSERT_TRUE(plane_->standby_stop(2));
  const auto counted = plane_->stats().xdp;
  EXPECT_GT(counted.count[TS_COUNT_TAP_HELD] - before, 43U) << "all of it, and the mark behind it";
  EXPECT_EQ(counted.count[TS_COUNT_TAP_ERROR], 0U);
}

TEST_F(OffloadTest, InputComesWithTheHeaderThatTheGuestExpects) {
  plane_->direct();
  const Bytes question = frame_of(Tcp{.from_vm = false, .payload = pattern(500)});
  lab_->client_send(question);
  Bytes got(4096);
  ssize_t bytes = 0;
  for (int i = 0; i < 200 && bytes <= 0; ++i) {
    bytes = ::read(tap_->fd(), got.data(), got.size());
    if (bytes > 0 && !comes_from(std::span(got).subspan(sizeof(VirtioHeader)), kClientMac)) bytes = 0;
    if (bytes <= 0) ::usleep(10000);
  }
  ASSERT_EQ(bytes, static_cast<ssize_t>(sizeof(VirtioHeader) + question.size()));
  EXPECT_TRUE(
      std::all_of(got.begin(), got.begin() + sizeof(VirtioHeader), [](std::byte b) { return b == std::byte{}; }));
  EXPECT_TRUE(std::equal(question.begin(), question.end(), got.begin() + sizeof(VirtioHeader)));

  lab_->client_send(question);
  std::vector<std::vector<std::byte>> unread;
  for (int i = 0; i < 200 && unread.empty(); ++i) {
    ::usleep(10000);
    for (auto& frame : tap_->drain(100))
      if (comes_from(frame, kClientMac)) unread.push_back(std::move(frame));
  }
  ASSERT_EQ(unread.size(), 1U);
  EXPECT_EQ(unread.front(), question) << "what the guest has not consumed is taken without the header";
}

}  // namespace
}  // namespace twinstep::test
