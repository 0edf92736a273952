// SPDX-License-Identifier: Apache-2.0
#include "wire/bodies.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "wire/bytes.hpp"
#include "wire/heartbeat.hpp"

namespace twinstep::wire {
namespace {

using testing::HasSubstr;

PrepareBody sample_prepare() {
  PrepareBody body;
  body.vm_name = "web";
  body.vm_id = 7;
  body.memory_bytes = std::uint64_t{5} << 30;
  body.definition_hash = 0xFEDCBA9876543210;
  for (std::size_t i = 0; i < body.digest_seed.size(); ++i) body.digest_seed[i] = static_cast<std::uint8_t>(200 + i);
  body.link_mac = {2, 0, 0, 0, 0, 9};
  body.machine_type = "pc-q35-7.2";
  body.page_stream_port = 7601;
  body.nics = {{{0x52, 0x54, 0, 1, 2, 3}, 3000, true}, {{0x52, 0x54, 0, 1, 2, 4}, 1500, false}};
  return body;
}

TEST(PrepareBody, RoundTrips) {
  const auto decoded = decode_prepare(encode(sample_prepare()));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, sample_prepare());
}

TEST(PrepareBody, RefusesAnyOtherLength) {
  auto bytes = encode(sample_prepare());
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(decode_prepare(std::span(bytes).first(cut))) << cut;
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode_prepare(bytes));
}

TEST(PrepareBody, RefusesNoNicAndTooMany) {
  auto body = sample_prepare();
  body.nics.resize(kNicsMax);
  EXPECT_TRUE(decode_prepare(encode(body)));
  body.nics.resize(kNicsMax + 1);
  EXPECT_FALSE(decode_prepare(encode(body)));
  body.nics.clear();
  EXPECT_FALSE(decode_prepare(encode(body)));
}

TEST(PreparedBody, RoundTripsAndRefusesAnyOtherLength) {
  const PreparedBody body{{2, 0, 0, 0, 0, 1}, 0xABCD};
  auto bytes = encode(body);
  ASSERT_TRUE(decode_prepared(bytes));
  EXPECT_EQ(*decode_prepared(bytes), body);
  EXPECT_FALSE(decode_prepared(std::span(bytes).first(bytes.size() - 1)));
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode_prepared(bytes));
}

TEST(SvmStoppedBody, RoundTripsAndRefusesHashesOfNoPage) {
  const std::vector<std::uint64_t> words{0b1011, 1};
  const std::vector<std::byte> hashes(3 * 16, std::byte{7});  // of the first three of four pages
  const auto bytes = encode_svm_stopped(65, words, hashes);
  const auto decoded = decode_svm_stopped(65, bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->words, words);
  EXPECT_EQ(decoded->hashes, hashes);
  EXPECT_TRUE(decode_svm_stopped(65, std::span(bytes).first(bytes.size() - 16)));
  EXPECT_FALSE(decode_svm_stopped(65, std::span(bytes).first(bytes.size() - 1)));
  EXPECT_FALSE(decode_svm_stopped(65, encode_svm_stopped(65, words, std::vector<std::byte>(5 * 16))));
  for (std::size_t cut = 0; cut < bytes.size() - hashes.size(); ++cut)
    EXPECT_FALSE(decode_svm_stopped(65, std::span(bytes).first(cut))) << cut;
}

TEST(Heartbeat, RoundTripsAndRefusesWhatIsNone) {
  const Heartbeat heartbeat{"host-a", 12345678901, -5};
  const auto bytes = encode(heartbeat);
  ASSERT_LE(bytes.size(), kHeartbeatBytesMax);
  ASSERT_TRUE(decode_heartbeat(bytes));
  EXPECT_EQ(*decode_heartbeat(bytes), heartbeat);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(decode_heartbeat(std::span(bytes).first(cut)));
  auto other_version = bytes;
  other_version[4] = std::byte{77};
  const auto refused = decode_heartbeat(other_version);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("wire version 77"));
}

void expect_round_trip(std::size_t pages, const std::vector<std::uint64_t>& words) {
  const auto decoded = decode_page_set(pages, encode_page_set(pages, words));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, words);
}

TEST(PageSet, RoundTripsEdges) {
  expect_round_trip(0, {});
  expect_round_trip(1, {0});
  expect_round_trip(1, {1});
  expect_round_trip(64, {~std::uint64_t{0}});
  expect_round_trip(65, {std::uint64_t{1} << 63, 1});
  expect_round_trip(200, {0x5555555555555555, ~std::uint64_t{0}, 0, 0xFF});
}

TEST(PageSet, RoundTripsRandomSets) {
  std::mt19937_64 random(42);
  for (int round = 0; round < 500; ++round) {
    const std::size_t pages = 1 + random() % 5000;
    std::vector<std::uint64_t> words((pages + 63) / 64);
    const unsigned density = static_cast<unsigned>(random() % 4);
    for (auto& word : words) {
      word = density == 3 ? ~std::uint64_t{0} : random();
      for (unsigned i = density; i < 2; ++i) word &= random() & random();
    }
    if (pages % 64 != 0) words.back() &= (std::uint64_t{1} << (pages % 64)) - 1;
    expect_round_trip(pages, words);
  }
}

TEST(PageSet, OfFewPagesIsSmall) {
  std::vector<std::uint64_t> words(65536 / 64);
  words[3] = 0xFF;
  EXPECT_LT(encode_page_set(65536, words).size(), 16U);
}

TEST(PageSet, OfAnotherVmSizeIsRefused) {
  const std::vector<std::uint64_t> words{0xF0};
  const auto refused = decode_page_set(63, encode_page_set(64, words));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("64 pages"));
}

std::vector<std::byte> raw_set(std::uint64_t pages, std::initializer_list<std::uint64_t> varints) {
  ByteWriter writer;
  writer.put(pages);
  for (const auto value : varints) writer.put_varint(value);
  return std::move(writer).take();
}

TEST(PageSet, RefusesRunsThatDoNotFit) {
  EXPECT_TRUE(decode_page_set(100, raw_set(100, {90, 10})));
  EXPECT_FALSE(decode_page_set(100, raw_set(100, {90, 11})));
  EXPECT_FALSE(decode_page_set(100, raw_set(100, {101, 1})));
  EXPECT_FALSE(decode_page_set(100, raw_set(100, {0, 100, 0, 1})));
  EXPECT_FALSE(decode_page_set(100, raw_set(100, {5, 0})));
  EXPECT_FALSE(decode_page_set(100, raw_set(100, {5})));
  EXPECT_FALSE(decode_page_set(100, raw_set(100, {5, ~std::uint64_t{0}})));
}

TEST(PageSet, SurvivesRandomBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    auto bytes = raw_set(1000, {});
    for (auto more = random() % 40; more > 0; --more) bytes.push_back(static_cast<std::byte>(random()));
    const auto decoded = decode_page_set(1000, bytes);
    if (decoded) {
      EXPECT_EQ(decoded->back() >> (1000 % 64), 0U);
    }
  }
}

}  // namespace
}  // namespace twinstep::wire
