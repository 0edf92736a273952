// SPDX-License-Identifier: Apache-2.0
#include "core/compare/frame.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "keys.hpp"
#include "packets.hpp"

namespace twinstep::compare {
namespace {

using testing::Bytes;
using testing::bytes_of;
using testing::encode;
using testing::encode_ethernet;
using testing::encode_udp;
using testing::meta_of;
using testing::test_key;
using TestSegment = testing::Segment;

const TestSegment kData{.seq = 0xfffffff0,
                        .ack = 77,
                        .flags = kAck | kPsh,
                        .window = 502,
                        .payload = bytes_of("some payload"),
                        .tsval = 99};

TEST(Frame, TcpSegmentIsTakenApart) {
  const auto key = test_key();
  const auto bytes = encode(kData);
  const Frame frame = parse(bytes, key);
  ASSERT_EQ(frame.cls, TS_CLASS_TCP);
  EXPECT_EQ(frame.flow, testing::flow_of(kData));
  EXPECT_EQ(frame.tcp.seq, 0xfffffff0);
  EXPECT_EQ(frame.tcp.ack, 77U);
  EXPECT_EQ(frame.tcp.window, 502);
  EXPECT_EQ(frame.tcp.flags, kAck | kPsh);
  EXPECT_EQ(frame.tcp.tsval, 99U);
  EXPECT_FALSE(frame.tcp.window_scale.has_value());
  EXPECT_EQ(frame.tcp.syn_options, 0U);
  EXPECT_EQ(Bytes(frame.payload.begin(), frame.payload.end()), kData.payload);
  EXPECT_TRUE(frame.digest == key.of(kData.payload));
}

TEST(Frame, EachSynOptionIsPartOfTheComparison) {
  const auto key = test_key();
  const TestSegment syn{.flags = kSyn, .tsval = 5, .mss = 1460, .window_scale = 7, .sack_permitted = true};
  const auto options = [&](const TestSegment& segment) { return parse(encode(segment), key).tcp.syn_options; };
  EXPECT_EQ(parse(encode(syn), key).tcp.window_scale, 7);
  TestSegment other = syn;
  other.tsval = 6;
  EXPECT_EQ(options(syn), options(other)) << "the timestamp's value differs, its presence doesn't";
  other = syn;
  other.mss = 1400;
  EXPECT_NE(options(syn), options(other));
  other = syn;
  other.window_scale = 8;
  EXPECT_NE(options(syn), options(other));
  other = syn;
  other.sack_permitted = false;
  EXPECT_NE(options(syn), options(other));
  other = syn;
  other.tsval.reset();
  EXPECT_NE(options(syn), options(other));
  other = syn;
  other.window_scale.reset();
  EXPECT_NE(options(syn), options(other));
}

TEST(Frame, ClassesAreTold) {
  const auto key = test_key();
  const auto udp = encode_udp("query");
  EXPECT_EQ(parse(udp, key).cls, TS_CLASS_DATAGRAM);
  EXPECT_EQ(parse(udp, key).flow.protocol, 17);
  EXPECT_EQ(parse(udp, key).payload.size(), 13U) << "with the UDP header";
  const auto arp = encode_ethernet(0x0806, std::string(46, 'a'));
  EXPECT_EQ(parse(arp, key).cls, TS_CLASS_ARP);
  EXPECT_EQ(parse(arp, key).payload.size(), 28U) << "without the padding";
  EXPECT_EQ(parse(encode_ethernet(0x88cc, "lldp", true), key).cls, TS_CLASS_SOFT);
  EXPECT_EQ(parse(encode_ethernet(0x88cc, "lldp", false), key).cls, TS_CLASS_OTHER);
  auto mdns = udp;
  mdns[14 + 16] = std::byte{224};
  mdns[14 + 17] = mdns[14 + 18] = std::byte{0};
  EXPECT_EQ(parse(mdns, key).cls, TS_CLASS_SOFT);
  auto fragment = encode(kData);
  fragment[14 + 6] = std::byte{0x20};
  EXPECT_EQ(parse(fragment, key).cls, TS_CLASS_DATAGRAM);
}

TEST(Frame, EthernetPaddingIsNotPayload) {
  const auto key = test_key();
  TestSegment ack = kData;
  ack.payload.clear();
  auto bytes = encode(ack);
  bytes.resize(bytes.size() + 6, std::byte{0xee});
  EXPECT_TRUE(parse(bytes, key).payload.empty());
}

TEST(Frame, MetadataGivesTheDigest) {
  const auto key = test_key();
  const auto bytes = encode(kData);
  auto meta = meta_of(bytes, key);
  EXPECT_TRUE(parse(bytes, meta, key).digest == key.of(kData.payload));
  meta.acc[0] += 1;
  EXPECT_FALSE(parse(bytes, meta, key).digest == key.of(kData.payload)) << "it is not computed again";
  meta.class_flags |= TS_META_DIGEST_PARTIAL << 4;
  EXPECT_TRUE(parse(bytes, meta, key).digest == key.of(kData.payload));
}

TEST(Frame, MetadataThatContradictsTheFrameMakesItAnOpaqueOne) {
  const auto key = test_key();
  const auto bytes = encode(kData);
  const auto good = meta_of(bytes, key);
  const auto expect_other = [&](ts_frame_meta meta) {
    const Frame frame = parse(bytes, meta, key);
    EXPECT_EQ(frame.cls, TS_CLASS_OTHER);
    EXPECT_EQ(frame.payload.size(), bytes.size() - 14);
    EXPECT_TRUE(frame.digest == key.of(std::span(bytes).subspan(14)));
  };
  auto meta = good;
  meta.payload_bytes = 5000;
  expect_other(meta);
  meta = good;
  meta.payload_offset = 255;
  expect_other(meta);
  meta = good;
  meta.class_flags = TS_CLASS_SOFT;
  expect_other(meta);
}

/// Under AddressSanitizer a read beyond the frame aborts: each frame lies in a block of its own.
TEST(Frame, AnyBytesAreSafe) {
  const auto key = test_key();
  std::mt19937_64 random(1);
  const std::vector<Bytes> frames = {
      encode(kData), encode({.flags = kSyn, .tsval = 5, .mss = 1460, .window_scale = 7, .sack_permitted = true}),
      encode_udp("query"), encode_ethernet(0x0806, std::string(28, 'a'))};
  for (int round = 0; round < 40'000; ++round) {
    const Bytes& frame = frames[random() % frames.size()];
    const std::size_t size = random() % (frame.size() + 1);
    const auto block = std::make_unique<std::byte[]>(size);
    std::copy_n(frame.begin(), size, block.get());
    for (auto changes = random() % 4; changes > 0 && size > 0; --changes)
      block[random() % size] = static_cast<std::byte>(random());
    const Frame parsed = parse(std::span(block.get(), size), key);
    ASSERT_LE(parsed.payload.data() + parsed.payload.size(), block.get() + size);
    ASSERT_TRUE(parsed.digest == key.of(parsed.payload));
  }
}

}  // namespace
}  // namespace twinstep::compare
