// SPDX-License-Identifier: Apache-2.0
#include "memory/packer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "memory/image_format.hpp"
#include "stream_fixture.hpp"

namespace twinstep::memory::test {
namespace {

constexpr std::size_t kPages = 3000;

/// Pages of text-like content that shrinks to a part, each different.
std::vector<std::byte> make_soft_ram(std::uint64_t seed) {
  std::vector<std::byte> ram(kPages * kPageBytes);
  std::mt19937_64 random(seed);
  for (std::size_t at = 0; at < ram.size(); at += 64) {
    const std::uint64_t word = random();
    for (std::size_t i = 0; i < 64; i += 16) std::memcpy(ram.data() + at + i, &word, sizeof(word));
  }
  return ram;
}

std::vector<PageNumber> every(std::size_t step) {
  std::vector<PageNumber> numbers;
  for (std::size_t page = 0; page < kPages; page += step) numbers.push_back(static_cast<PageNumber>(page));
  return numbers;
}

Result<SentInfo> send(ImageSender& sender, ImageKind kind, std::size_t step, std::span<const std::byte> ram) {
  const auto numbers = every(step);
  std::vector<std::byte> content(numbers.size() * kPageBytes);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    std::memcpy(content.data() + i * kPageBytes, ram.data() + numbers[i] * kPageBytes, kPageBytes);
  SpanFeed feed(numbers, content);
  ImageHeader header;
  header.kind = kind;
  header.ram_bytes = ram.size();
  header.epoch = kind == ImageKind::checkpoint ? 1 : 0;
  return sender.send(header, feed, {});
}

/// Small images, by which the link is measured, and a checkpoint of all pages. The rate's limit stands for the link.
Recording record_checkpoint(std::span<const std::byte> ram, std::uint64_t link_bytes_per_s, std::uint64_t& bytes) {
  return record(1, [&](ImageSender& sender) {
    sender.limit_rate(link_bytes_per_s);
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(send(sender, ImageKind::ahead, 100, ram));
    const auto sent = send(sender, ImageKind::checkpoint, 1, ram);
    ASSERT_TRUE(sent);
    EXPECT_EQ(sent->pages, kPages);
    bytes = sent->bytes;
  });
}

TEST(PackedPages, ComeOverASlowLinkAndAreTheSame) {
  const auto ram = make_soft_ram(1);
  std::uint64_t bytes = 0;
  const auto recording = record_checkpoint(ram, 10'000'000, bytes);
  EXPECT_LT(bytes, ram.size() / 2);
  Receiving receiving(kPages);
  const auto received = receiving.replay(recording);
  ASSERT_TRUE(received) << received.error().message;
  ASSERT_TRUE(receiving.image.apply(receiving.ram, receiving.absent));
  EXPECT_TRUE(receiving.ram == ram);
}

TEST(PackedPages, ComeAsTheyAreOverAFastLinkAndWhenTheyDoNotShrink) {
  std::uint64_t bytes = 0;
  const auto soft = make_soft_ram(2);
  record_checkpoint(soft, 4'000'000'000, bytes);
  EXPECT_GT(bytes, soft.size());
  record_checkpoint(soft, 0, bytes);
  EXPECT_GT(bytes, soft.size()) << "nothing is known of the link";
  auto hard = make_ram(kPages, 3);
  const auto recording = record_checkpoint(hard, 10'000'000, bytes);
  Receiving receiving(kPages);
  ASSERT_TRUE(receiving.replay(recording));
  ASSERT_TRUE(receiving.image.apply(receiving.ram, receiving.absent));
  EXPECT_TRUE(receiving.ram == hard);
}

TEST(PackedPages, ChangesBetweenInOneImageAreTaken) {
  const auto ram = make_soft_ram(4);
  const auto recording = record(1, [&](ImageSender& sender) {
    sender.limit_rate(10'000'000);  // from the third measurement on, in the middle
    ASSERT_TRUE(send(sender, ImageKind::live_round, 1, ram));
  });
  EXPECT_LT(recording.front().size(), ram.size());
  Receiving receiving(kPages);
  ASSERT_TRUE(receiving.replay(recording));
  EXPECT_TRUE(receiving.ram == ram);
}

TEST(PackedPages, EachDamageIsRefused) {
  const auto ram = make_soft_ram(5);
  std::uint64_t bytes = 0;
  auto recording = record_checkpoint(ram, 10'000'000, bytes);
  auto& stream = recording.front();
  std::mt19937 random(1);
  Receiving receiving(kPages);
  for (int run = 0; run < 60; ++run) {
    const std::size_t at = random() % stream.size();
    const auto bit = static_cast<std::byte>(1U << random() % 8);
    stream[at] ^= bit;
    EXPECT_FALSE(receiving.replay(recording)) << "byte " << at;
    EXPECT_TRUE(receiving.ram_untouched());
    stream[at] ^= bit;
    auto cut = recording;
    cut.front().resize(random() % stream.size());
    EXPECT_FALSE(receiving.replay(cut));
  }
  EXPECT_TRUE(receiving.replay(recording)) << "the whole one is taken";
}

TEST(PackedPages, ABlockThatIsNoneOrHasAnotherLengthIsRefusedInBounds) {
  const auto ram = make_soft_ram(6);
  auto chunk = Chunk::create();
  auto packer = Packer::create();
  ASSERT_TRUE(chunk && packer);
  for (PageNumber page = 0; page < 20; page += 2) {
    chunk->add(page, std::span(ram).subspan(page * kPageBytes, kPageBytes));
  }
  std::vector<std::byte> room(10 * kPageBytes);
  const auto packed = packer->pack(*chunk, room);
  ASSERT_FALSE(packed.empty());
  std::vector<std::byte> out(12 * kPageBytes, std::byte{0x5a});
  const auto pages = std::span(out).subspan(kPageBytes, 10 * kPageBytes);
  ASSERT_TRUE(unpack(packed, pages));
  for (std::size_t page = 0; page < 10; ++page)
    EXPECT_EQ(std::memcmp(pages.data() + page * kPageBytes, ram.data() + 2 * page * kPageBytes, kPageBytes), 0);
  EXPECT_FALSE(unpack(packed, pages.first(9 * kPageBytes)));
  EXPECT_FALSE(unpack(packed.first(packed.size() - 1), pages));
  EXPECT_FALSE(unpack(packed, out)) << "too little in it";
  std::ranges::fill(out, std::byte{0x5a});
  std::mt19937 random(2);
  for (int run = 0; run < 2000; ++run) {
    std::vector<std::byte> noise(packed.begin(), packed.end());
    for (int i = 0; i < 8; ++i) noise[random() % noise.size()] = static_cast<std::byte>(random());
    (void)unpack(noise, pages);
    const auto outside = [](std::byte byte) { return byte == std::byte{0x5a}; };
    ASSERT_TRUE(std::all_of(out.begin(), out.begin() + kPageBytes, outside));
    ASSERT_TRUE(std::all_of(out.end() - kPageBytes, out.end(), outside));
  }
}

TEST(PackedPages, AHeaderThatLiesIsRefused) {
  const auto error_of = [](PageCodec codec, std::uint32_t data_pages, std::uint32_t packed_bytes) {
    ChunkHeader header;
    header.codec = codec;
    header.data_pages = data_pages;
    header.packed_bytes = packed_bytes;
    header.checksum = header_checksum(header);
    const auto verified = verify(header, 0);
    return verified ? std::string() : verified.error().message;
  };
  EXPECT_EQ(error_of(PageCodec::none, 3, 0), "");
  EXPECT_EQ(error_of(PageCodec::lz4, 3, 3 * kPageBytes - 1), "");
  for (const auto& [codec, packed_bytes] :
       {std::pair{PageCodec::none, 1U}, {PageCodec::lz4, 0U}, {PageCodec::lz4, 3 * 4096U}, {PageCodec{2}, 100U}})
    EXPECT_NE(error_of(codec, 3, packed_bytes).find("can't read"), std::string::npos);
  EXPECT_NE(error_of(PageCodec::lz4, 0, 1).find("can't read"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::memory::test
