// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <random>
#include <string>
#include <thread>

#include "stream_fixture.hpp"

namespace twinstep::memory::test {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kPages = 3000;
constexpr std::uint64_t kGeneration = 11;
constexpr std::uint32_t kEpoch = 5;

std::vector<PageNumber> every(std::size_t step) {
  std::vector<PageNumber> numbers;
  for (std::size_t page = 0; page < kPages; page += step) numbers.push_back(static_cast<PageNumber>(page));
  return numbers;
}

std::vector<std::byte> content_of(std::span<const std::byte> ram, std::span<const PageNumber> numbers) {
  std::vector<std::byte> content(numbers.size() * kPageBytes);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::memcpy(content.data() + i * kPageBytes, ram.data() + numbers[i] * kPageBytes, kPageBytes);
  }
  return content;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

const std::string kMeta = "flow bases";
const std::string kState(70'001, 's');

const std::vector<std::uint64_t> kPageChecksums(kPages, 77);

ImageHeader header_of(ImageKind kind) {
  ImageHeader header;
  header.kind = kind;
  header.generation = kGeneration;
  header.ram_bytes = kPages * kPageBytes;
  if (kind == ImageKind::checkpoint) header.epoch = kEpoch;
  return header;
}

ImageTail tail_of(ImageKind kind) {
  if (kind != ImageKind::checkpoint) return {};
  return {bytes_of(kMeta), bytes_of(kState), kPageChecksums};
}

Result<void> add_all(ImageSender& sender, std::span<const PageNumber> numbers, std::span<const std::byte> content) {
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (auto added = sender.add(numbers[i], content.subspan(i * kPageBytes, kPageBytes)); !added) return added;
  }
  return {};
}

std::vector<std::byte> record_image(ImageKind kind, std::span<const std::byte> ram,
                                    std::span<const PageNumber> numbers) {
  return record([&](ImageSender& sender) {
    const auto content = content_of(ram, numbers);
    ASSERT_TRUE(sender.begin(header_of(kind), tail_of(kind)));
    ASSERT_TRUE(add_all(sender, numbers, content));
    ASSERT_TRUE(sender.finish(tail_of(kind)));
  });
}

/// After replay of a damaged checkpoint: told, and nothing of it may be used.
void expect_refused(Receiving& receiving, std::span<const std::byte> stream, const std::string& what) {
  const auto received = receiving.replay(stream);
  EXPECT_FALSE(received) << what;
  EXPECT_FALSE(receiving.image.complete()) << what;
  EXPECT_FALSE(receiving.image.apply(receiving.ram, receiving.absent)) << what;
  EXPECT_TRUE(receiving.ram_untouched()) << what;
}

TEST(ImageStream, ACheckpointArrivesWhole) {
  const auto ram = make_ram(kPages, 1);
  for (const std::size_t step : {1U, 2U, 3U, 5U}) {
    const auto numbers = every(step);
    Receiving receiving(kPages);
    const auto received = receiving.replay(record_image(ImageKind::checkpoint, ram, numbers));
    ASSERT_TRUE(received) << received.error().message;
    EXPECT_EQ(received->kind, ImageKind::checkpoint);
    EXPECT_EQ(received->pages, numbers.size());
    EXPECT_TRUE(receiving.ram_untouched()) << "before it is applied";
    ASSERT_TRUE(receiving.image.complete());
    EXPECT_EQ(receiving.image.generation(), kGeneration);
    EXPECT_EQ(receiving.image.epoch(), kEpoch);
    EXPECT_EQ(receiving.image.pages(), numbers.size());
    EXPECT_EQ(text_of(receiving.image.meta()), kMeta);
    EXPECT_EQ(text_of(receiving.image.device_state()), kState);
    EXPECT_TRUE(std::ranges::equal(receiving.image.page_checksums(), kPageChecksums));

    auto expected = receiving.ram;
    for (const auto number : numbers)
      std::memcpy(expected.data() + number * kPageBytes, ram.data() + number * kPageBytes, kPageBytes);
    ASSERT_TRUE(receiving.image.apply(receiving.ram, receiving.absent));
    EXPECT_TRUE(receiving.ram == expected) << "step " << step;
  }
}

TEST(ImageStream, ZeroPagesTravelAsNumbers) {
  const std::vector<std::byte> ram(kPages * kPageBytes);
  const auto stream = record_image(ImageKind::checkpoint, ram, every(1));
  EXPECT_LT(stream.size(), kPages * (sizeof(PageNumber) + kPageChecksumBytes) + kState.size() + 1024);
}

TEST(ImageStream, AnImageMayBeEmpty) {
  Receiving receiving(kPages);
  const auto received = receiving.replay(record_image(ImageKind::checkpoint, {}, {}));
  ASSERT_TRUE(received) << received.error().message;
  EXPECT_EQ(text_of(receiving.image.device_state()), kState);
}

TEST(ImageStream, ALiveRoundIsWrittenAtOnce) {
  const auto ram = make_ram(kPages, 2);
  Receiving receiving(kPages);
  const auto received = receiving.replay(record_image(ImageKind::live_round, ram, every(1)));
  ASSERT_TRUE(received) << received.error().message;
  EXPECT_EQ(received->kind, ImageKind::live_round);
  EXPECT_TRUE(receiving.ram == ram);
  EXPECT_FALSE(receiving.image.complete());
}

TEST(ImageStream, EachCutIsRefused) {
  const auto stream = record_image(ImageKind::checkpoint, make_ram(kPages, 3), every(6));
  Receiving receiving(kPages);
  std::mt19937 random(1);
  for (int run = 0; run < 150; ++run) {
    const std::size_t end = random() % stream.size();
    expect_refused(receiving, std::span(stream).first(end),
                   "cut at " + std::to_string(end) + " of " + std::to_string(stream.size()));
  }
  for (const std::size_t left :
       {std::size_t{1}, sizeof(ImageTrailer), sizeof(ImageTrailer) + 1, sizeof(ImageTrailer) + kState.size()}) {
    expect_refused(receiving, std::span(stream).first(stream.size() - left), std::to_string(left) + " bytes missing");
  }
  EXPECT_TRUE(receiving.replay(stream)) << "the whole one is taken";
}

TEST(ImageStream, EachFlippedBitIsRefused) {
  auto stream = record_image(ImageKind::checkpoint, make_ram(kPages, 4), every(6));
  Receiving receiving(kPages);
  std::mt19937 random(2);
  const auto flip_and_try = [&](std::size_t at) {
    const auto bit = static_cast<std::byte>(1U << random() % 8);
    stream[at] ^= bit;
    expect_refused(receiving, stream, "flipped in byte " + std::to_string(at));
    stream[at] ^= bit;
  };
  for (int run = 0; run < 150; ++run) flip_and_try(random() % stream.size());
  for (std::size_t at = 0; at < sizeof(ImageHeader) + sizeof(ChunkHeader); ++at) flip_and_try(at);
  for (std::size_t at = stream.size() - sizeof(ImageTrailer); at < stream.size(); ++at) flip_and_try(at);
  EXPECT_TRUE(receiving.replay(stream)) << "the whole one is taken";
}

TEST(ImageStream, ADamagedImageAfterAGoodOneTakesItsPlaceAsNone) {
  const auto stream = record_image(ImageKind::checkpoint, make_ram(kPages, 5), every(2));
  Receiving receiving(kPages);
  ASSERT_TRUE(receiving.replay(stream));
  ASSERT_TRUE(receiving.image.complete());
  expect_refused(receiving, std::span(stream).first(stream.size() / 2), "cut");
}

TEST(ImageStream, AnEpochBeyondTheBoundIsRefused) {
  const auto stream = record_image(ImageKind::checkpoint, make_ram(kPages, 6), every(1));
  Receiving receiving(kPages, std::size_t{1} << 20);
  const auto received = receiving.replay(stream);
  ASSERT_FALSE(received);
  EXPECT_NE(received.error().message.find("epoch_bytes_max"), std::string::npos) << received.error().message;
  EXPECT_FALSE(receiving.image.complete());
}

TEST(ImageStream, ForeignImagesAreRefusedByName) {
  const auto stream = record_image(ImageKind::checkpoint, make_ram(kPages, 7), every(100));
  const auto with_header = [&](auto&& change) {
    auto changed = stream;
    ImageHeader header;
    std::memcpy(&header, changed.data(), sizeof(header));
    change(header);
    header.checksum = header_checksum(header);
    std::memcpy(changed.data(), &header, sizeof(header));
    return changed;
  };
  const auto expect_error = [](const std::vector<std::byte>& changed, const std::string& part) {
    Receiving receiving(kPages);
    const auto received = receiving.replay(changed);
    ASSERT_FALSE(received) << part;
    EXPECT_NE(received.error().message.find(part), std::string::npos) << received.error().message;
    EXPECT_FALSE(receiving.image.complete());
  };
  expect_error(with_header([](auto& header) { header.version = 9; }), "memory images of version 9");
  expect_error(with_header([](auto& header) { header.ram_bytes += kPageBytes; }), "same memory size");
  expect_error(with_header([](auto& header) { header.kind = static_cast<ImageKind>(4); }), "unknown kind 4");
  expect_error(with_header([](auto& header) { header.state_bytes = kStateBytesMax + 1; }), "beyond the limits");
  expect_error(with_header([](auto& header) { header.verify_bytes += 8; }), "checksums of another number of pages");
  expect_error(with_header([](auto& header) { header.epoch += 1; }), "trailer of another image");
}

TEST(ImageStream, PagesBeyondTheRamAreRefused) {
  const std::vector<PageNumber> numbers{1, static_cast<PageNumber>(kPages)};
  const std::vector<std::byte> content(2 * kPageBytes, std::byte{1});
  for (const auto kind : {ImageKind::live_round, ImageKind::checkpoint}) {
    const auto stream = record([&](ImageSender& sender) {
      ASSERT_TRUE(sender.begin(header_of(kind), {}));
      ASSERT_TRUE(add_all(sender, numbers, content));
      ASSERT_TRUE(sender.flush());
    });
    Receiving receiving(kPages);
    const auto received = receiving.replay(stream);
    ASSERT_FALSE(received);
    EXPECT_NE(received.error().message.find("beyond the end"), std::string::npos) << received.error().message;
    EXPECT_TRUE(receiving.ram_untouched());
  }
}

TEST(ImageStream, ASilentPeerIsAnErrorInTime) {
  SocketPair sockets;
  Receiving receiving(kPages);
  const SocketReader reader(sockets.right.get());
  const auto nothing = receiving.receiver.receive(reader, receiving.image, milliseconds(50), kTimeout);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().message, "nothing came on the page stream for 50 ms");
  const char first_byte = 'x';
  ASSERT_EQ(::send(sockets.left.get(), &first_byte, 1, 0), 1);
  const auto stalled = receiving.receiver.receive(reader, receiving.image, kTimeout, milliseconds(60));
  ASSERT_FALSE(stalled);
  EXPECT_EQ(stalled.error().message, "nothing came on the page stream for 60 ms");
}

TEST(ImageStream, AShutdownEndsAReceiver) {
  SocketPair sockets;
  Receiving receiving(kPages);
  auto received = std::async(std::launch::async, [&] {
    return receiving.receiver.receive(SocketReader(sockets.right.get()), receiving.image, kTimeout, kTimeout);
  });
  EXPECT_EQ(received.wait_for(milliseconds(50)), std::future_status::timeout);
  ::shutdown(sockets.right.get(), SHUT_RDWR);
  ASSERT_EQ(received.wait_for(milliseconds(1000)), std::future_status::ready);
  EXPECT_FALSE(received.get());
}

Result<void> send_all_of(const SocketPair& sockets, milliseconds stall_timeout) {
  auto sender = ImageSender::create(sockets.left.get(), stall_timeout);
  EXPECT_TRUE(sender) << sender.error().message;
  const auto numbers = every(1);
  const auto ram = make_ram(kPages, 8);
  auto sent = sender->begin(header_of(ImageKind::live_round), {});
  if (sent) sent = add_all(*sender, numbers, ram);
  if (sent) sent = sender->finish({});
  return sent;
}

TEST(ImageStream, APeerThatTakesNothingIsAnErrorInTime) {
  const SocketPair sockets;
  const auto sent = send_all_of(sockets, milliseconds(80));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().message, "the peer took nothing of a memory image for 80 ms");
}

TEST(ImageStream, AShutdownEndsASender) {
  const SocketPair sockets;
  auto sent = std::async(std::launch::async, [&] { return send_all_of(sockets, kTimeout); });
  EXPECT_EQ(sent.wait_for(milliseconds(50)), std::future_status::timeout);
  ::shutdown(sockets.left.get(), SHUT_RDWR);
  ASSERT_EQ(sent.wait_for(milliseconds(1000)), std::future_status::ready);
  EXPECT_FALSE(sent.get());
}

TEST(ImageStream, ShortWritesLoseNothing) {
  const SocketPair sockets;
  const int small = 4096;
  ASSERT_EQ(::setsockopt(sockets.left.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
  Receiving receiving(kPages);
  auto sent = std::async(std::launch::async, [&] { return send_all_of(sockets, kTimeout); });
  const auto received =
      receiving.receiver.receive(SocketReader(sockets.right.get()), receiving.image, kTimeout, kTimeout);
  ASSERT_TRUE(received) << received.error().message;
  EXPECT_TRUE(sent.get());
  EXPECT_TRUE(receiving.ram == make_ram(kPages, 8));
}

TEST(ImageStream, ImagesFollowEachOtherOnOneStream) {
  const SocketPair sockets;
  Receiving receiving(kPages);
  auto sent =
      std::async(std::launch::async, [&] { return send_all_of(sockets, kTimeout) && send_all_of(sockets, kTimeout); });
  const SocketReader reader(sockets.right.get());
  EXPECT_TRUE(receiving.receiver.receive(reader, receiving.image, kTimeout, kTimeout));
  EXPECT_TRUE(receiving.receiver.receive(reader, receiving.image, kTimeout, kTimeout));
  EXPECT_TRUE(sent.get());
}

}  // namespace
}  // namespace twinstep::memory::test
