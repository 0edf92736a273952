// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "stream_fixture.hpp"

namespace twinstep::memory::test {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kPages = 3100;
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

Result<SentInfo> send_image(ImageSender& sender, ImageKind kind, std::span<const PageNumber> numbers,
                            std::span<const std::byte> content) {
  SpanFeed feed(numbers, content);
  return sender.send(header_of(kind), feed, tail_of(kind));
}

Recording record_image(ImageKind kind, std::span<const std::byte> ram, std::span<const PageNumber> numbers,
                       std::size_t streams = 1) {
  return record(streams, [&](ImageSender& sender) {
    const auto sent = send_image(sender, kind, numbers, content_of(ram, numbers));
    ASSERT_TRUE(sent) << sent.error().message;
    EXPECT_EQ(sent->pages, numbers.size());
  });
}

/// Two images sent ahead, and the checkpoint to which they belong.
Recording record_with_ahead(std::span<const std::byte> ram, std::size_t streams) {
  return record(streams, [&](ImageSender& sender) {
    for (const std::size_t step : {1U, 40U}) {
      ASSERT_TRUE(send_image(sender, ImageKind::ahead, every(step), content_of(ram, every(step))));
    }
    ASSERT_TRUE(send_image(sender, ImageKind::checkpoint, every(2), content_of(ram, every(2))));
  });
}

/// After replay of a damaged checkpoint: told, and nothing of it may be used.
void expect_refused(Receiving& receiving, const Recording& streams, const std::string& what) {
  const auto received = receiving.replay(streams);
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
  const auto streams = record_image(ImageKind::checkpoint, ram, every(1));
  EXPECT_LT(streams.front().size(), kPages * (sizeof(PageNumber) + kPageChecksumBytes) + kState.size() + 1024);
}

TEST(ImageStream, ALargeImageIsOnSeveralStreamsASmallOneOnTheFirst) {
  const auto ram = make_ram(kPages, 9);
  for (const auto kind : {ImageKind::live_round, ImageKind::checkpoint}) {
    const auto streams = record_image(kind, ram, every(1), 3);
    for (const auto& stream : streams) EXPECT_GT(stream.size(), kChunkDataPagesMax * kPageBytes);
    Receiving receiving(kPages);
    const auto received = receiving.replay(streams);
    ASSERT_TRUE(received) << received.error().message;
    EXPECT_EQ(received->pages, kPages);
    if (kind == ImageKind::checkpoint) {
      EXPECT_EQ(text_of(receiving.image.device_state()), kState);
      EXPECT_TRUE(receiving.ram_untouched());
      ASSERT_TRUE(receiving.image.apply(receiving.ram, receiving.absent));
    }
    EXPECT_TRUE(receiving.ram == ram);
  }
  const auto small = record_image(ImageKind::checkpoint, ram, every(4), 3);
  EXPECT_TRUE(small[1].empty() && small[2].empty());
  Receiving receiving(kPages);
  EXPECT_TRUE(receiving.replay(small));
}

TEST(ImageStream, LaterImagesOverruleThoseSentAhead) {
  const auto old = make_ram(kPages, 10);
  const auto ram = make_ram(kPages, 11);
  const auto streams = record(3, [&](ImageSender& sender) {
    ASSERT_TRUE(send_image(sender, ImageKind::ahead, every(1), old));
    ASSERT_TRUE(send_image(sender, ImageKind::checkpoint, every(1), ram));
  });
  Receiving receiving(kPages);
  ASSERT_TRUE(receiving.replay(streams));
  ASSERT_TRUE(receiving.image.apply(receiving.ram, receiving.absent));
  EXPECT_TRUE(receiving.ram == ram);
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

/// Of one stream and of three, with images sent ahead and without.
class DamagedStream : public ::testing::TestWithParam<std::tuple<std::size_t, bool>> {
 protected:
  void SetUp() override {
    const auto [streams, ahead] = GetParam();
    auto ram = make_ram(kPages, 3);
    for (std::size_t page = 0; page < kPages; ++page) {  // fewer bytes, as many chunks and parts
      if (page % 8 != 1)
        std::fill_n(ram.begin() + static_cast<std::ptrdiff_t>(page * kPageBytes), kPageBytes, std::byte{});
    }
    recording_ = ahead          ? record_with_ahead(ram, streams)
                 : streams == 1 ? record_image(ImageKind::checkpoint, ram, every(6))
                                : record_image(ImageKind::checkpoint, ram, every(1), streams);
    runs_ = recording_.size() == 1 && !ahead ? 150 : 30;
  }
  void cut(std::size_t stream, std::size_t end) {
    auto damaged = recording_;
    damaged[stream].resize(end);
    expect_refused(receiving_, damaged,
                   "stream " + std::to_string(stream) + " cut at " + std::to_string(end) + " of " +
                       std::to_string(recording_[stream].size()));
  }
  void flip(std::size_t stream, std::size_t at) {
    const auto bit = static_cast<std::byte>(1U << random_() % 8);
    recording_[stream][at] ^= bit;
    expect_refused(receiving_, recording_,
                   "flipped in byte " + std::to_string(at) + " of stream " + std::to_string(stream));
    recording_[stream][at] ^= bit;
  }

  Recording recording_;
  Receiving receiving_{kPages};
  std::mt19937 random_{1};
  int runs_ = 0;
};

TEST_P(DamagedStream, EachCutIsRefused) {
  for (std::size_t stream = 0; stream < recording_.size(); ++stream) {
    const std::size_t size = recording_[stream].size();
    for (int run = 0; run < runs_; ++run) cut(stream, random_() % size);
    for (const std::size_t left : {std::size_t{1}, sizeof(ImageTrailer), sizeof(ImageTrailer) + 1}) {
      cut(stream, size - left);
    }
    cut(stream, 0);
  }
  EXPECT_TRUE(receiving_.replay(recording_)) << "the whole one is taken";
}

TEST_P(DamagedStream, EachFlippedBitIsRefused) {
  for (std::size_t stream = 0; stream < recording_.size(); ++stream) {
    const std::size_t size = recording_[stream].size();
    for (int run = 0; run < runs_; ++run) flip(stream, random_() % size);
    for (std::size_t at = 0; at < sizeof(ImageHeader) + sizeof(ChunkHeader); at += runs_ < 100 ? 7 : 1)
      flip(stream, at);
    for (std::size_t at = size - sizeof(ImageTrailer); at < size; at += runs_ < 100 ? 7 : 1) flip(stream, at);
  }
  EXPECT_TRUE(receiving_.replay(recording_)) << "the whole one is taken";
}

TEST_P(DamagedStream, SwappedStreamsAreRefused) {
  if (recording_.size() == 1) return;
  std::swap(recording_[1], recording_[2]);
  expect_refused(receiving_, recording_, "swapped");
}

INSTANTIATE_TEST_SUITE_P(ImageStream, DamagedStream, ::testing::Combine(::testing::Values(1U, 3U), ::testing::Bool()));

TEST(ImageStream, APartOfAnotherImageIsRefused) {
  const auto ram = make_ram(kPages, 12);
  const auto record_two = [&](std::uint64_t seed) {
    const auto other = make_ram(kPages, seed);
    return record(3, [&](ImageSender& sender) {
      ASSERT_TRUE(send_image(sender, ImageKind::ahead, every(1), ram));
      ASSERT_TRUE(send_image(sender, ImageKind::checkpoint, every(1), other));
    });
  };
  auto streams = record_two(13);
  const auto first_only =
      record(3, [&](ImageSender& sender) { ASSERT_TRUE(send_image(sender, ImageKind::checkpoint, every(1), ram)); });
  streams[2] = first_only[2];  // whole and undamaged, but of a checkpoint where pages sent ahead are due
  Receiving receiving(kPages);
  expect_refused(receiving, streams, "a foreign part");
}

TEST(ImageStream, ADamagedImageAfterAGoodOneTakesItsPlaceAsNone) {
  auto streams = record_image(ImageKind::checkpoint, make_ram(kPages, 5), every(2));
  Receiving receiving(kPages);
  ASSERT_TRUE(receiving.replay(streams));
  ASSERT_TRUE(receiving.image.complete());
  streams.front().resize(streams.front().size() / 2);
  expect_refused(receiving, streams, "cut");
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
  const auto stream = record_image(ImageKind::checkpoint, make_ram(kPages, 7), every(100)).front();
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
    const auto received = receiving.replay(Recording{changed});
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
  expect_error(with_header([](auto& header) { header.parts = kStreamsMax + 1; }), "part 0 of 9");
  expect_error(with_header([](auto& header) { header.parts = 2; }), "part 0 of 2 of memory image 0");
  expect_error(with_header([](auto& header) { header.sequence = 1; }), "memory image 1 where image 0");
}

TEST(ImageStream, PagesBeyondTheRamAreRefused) {
  const std::vector<PageNumber> numbers{1, static_cast<PageNumber>(kPages)};
  const std::vector<std::byte> content(2 * kPageBytes, std::byte{1});
  for (const auto kind : {ImageKind::live_round, ImageKind::checkpoint}) {
    const auto stream =
        record(1, [&](ImageSender& sender) { ASSERT_TRUE(send_image(sender, kind, numbers, content)); });
    Receiving receiving(kPages);
    const auto received = receiving.replay(stream);
    ASSERT_FALSE(received);
    EXPECT_NE(received.error().message.find("beyond the end"), std::string::npos) << received.error().message;
    EXPECT_TRUE(receiving.ram_untouched());
  }
}

TEST(ImageStream, ASilentPeerIsAnErrorInTime) {
  const SocketPair sockets;
  Receiving receiving(kPages);
  const auto nothing =
      receiving.receiver(std::array{sockets.right.get()}).receive(receiving.image, milliseconds(50), kTimeout);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().message, "nothing came on the page stream for 50 ms");
  const SocketPair silent;
  const char first_byte = 'x';
  ASSERT_EQ(::send(silent.left.get(), &first_byte, 1, 0), 1);
  const auto stalled =
      receiving.receiver(std::array{silent.right.get()}).receive(receiving.image, kTimeout, milliseconds(60));
  ASSERT_FALSE(stalled);
  EXPECT_EQ(stalled.error().message, "nothing came on the page stream for 60 ms");
}

TEST(ImageStream, AShutdownEndsAReceiver) {
  SocketPair sockets;
  Receiving receiving(kPages);
  auto received = std::async(std::launch::async, [&] {
    return receiving.receiver(std::array{sockets.right.get()}).receive(receiving.image, kTimeout, kTimeout);
  });
  EXPECT_EQ(received.wait_for(milliseconds(50)), std::future_status::timeout);
  ::shutdown(sockets.right.get(), SHUT_RDWR);
  ASSERT_EQ(received.wait_for(milliseconds(1000)), std::future_status::ready);
  EXPECT_FALSE(received.get());
}

std::vector<int> lefts_of(std::span<const SocketPair> sockets) {
  std::vector<int> ends;
  for (const auto& pair : sockets) ends.push_back(pair.left.get());
  return ends;
}

Result<void> send_all_of(std::span<const SocketPair> sockets, milliseconds stall_timeout, int images = 1) {
  auto sender = ImageSender::create(lefts_of(sockets), stall_timeout);
  EXPECT_TRUE(sender) << sender.error().message;
  const auto ram = make_ram(kPages, 8);
  for (int image = 0; image < images; ++image) {
    if (auto sent = send_image(*sender, ImageKind::live_round, every(1), ram); !sent)
      return tl::unexpected(sent.error());
  }
  return {};
}

TEST(ImageStream, APeerThatTakesNothingIsAnErrorInTime) {
  const SocketPair sockets;
  const auto sent = send_all_of({&sockets, 1}, milliseconds(80));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().message, "the peer took nothing of a memory image for 80 ms");
}

TEST(ImageStream, AShutdownEndsASender) {
  const SocketPair sockets;
  auto sent = std::async(std::launch::async, [&] { return send_all_of({&sockets, 1}, kTimeout); });
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
  auto sent = std::async(std::launch::async, [&] { return send_all_of({&sockets, 1}, kTimeout); });
  const auto received =
      receiving.receiver(std::array{sockets.right.get()}).receive(receiving.image, kTimeout, kTimeout);
  ASSERT_TRUE(received) << received.error().message;
  EXPECT_TRUE(sent.get());
  EXPECT_TRUE(receiving.ram == make_ram(kPages, 8));
}

TEST(ImageStream, ImagesFollowEachOtherOnTheirStreams) {
  for (const std::size_t streams : {1U, 3U}) {
    const std::vector<SocketPair> sockets(streams);
    std::vector<int> ends;
    for (const auto& pair : sockets) ends.push_back(pair.right.get());
    Receiving receiving(kPages);
    auto sent = std::async(std::launch::async, [&] { return send_all_of(sockets, kTimeout, 5); });
    auto receiver = receiving.receiver(ends);
    for (int image = 0; image < 5; ++image) {
      const auto received = receiver.receive(receiving.image, kTimeout, kTimeout);
      ASSERT_TRUE(received) << received.error().message;
    }
    EXPECT_TRUE(sent.get());
  }
}

/// Two ends of a TCP connection of this host with itself.
SocketPair tcp_pair() {
  const io::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  SocketPair pair;
  pair.left = io::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_TRUE(::bind(listener.get(), any, size) == 0 && ::listen(listener.get(), 1) == 0 &&
              ::getsockname(listener.get(), any, &size) == 0 && ::connect(pair.left.get(), any, size) == 0);
  pair.right = io::UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  return pair;
}

TEST(ImageStream, AKernelThatSaysItCopiesIsBelieved) {
  const auto sockets = tcp_pair();
  const auto ram = make_ram(kPages, 14);
  Receiving receiving(kPages);
  auto sender = ImageSender::create(std::array{sockets.left.get()}, kTimeout);
  ASSERT_TRUE(sender);
  auto receiver = receiving.receiver(std::array{sockets.right.get()});
  for (int image = 0; image < 3; ++image) {
    auto sent =
        std::async(std::launch::async, [&] { return send_image(*sender, ImageKind::live_round, every(1), ram); });
    const auto received = receiver.receive(receiving.image, kTimeout, kTimeout);
    ASSERT_TRUE(received) << received.error().message;
    ASSERT_TRUE(sent.get());
    EXPECT_FALSE(sender->zero_copy()) << "loopback always copies";
    EXPECT_TRUE(receiving.ram == ram);
  }
}

/// From now on the socket takes nothing, as nobody reads at its other end.
void fill(int socket) {
  const std::array<std::byte, 256> block{};
  while (::send(socket, block.data(), block.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) continue;
}

bool is_ended(const SocketPair& pair) {
  const std::byte block{};
  return ::send(pair.left.get(), &block, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

TEST(ImageStream, AStreamThatIsStuckEndsTheOthersInTime) {
  for (std::size_t stuck = 0; stuck < 3; ++stuck) {
    const std::vector<SocketPair> sockets(3);
    // Its part may be a header only, where its thread starts after the others have sent every page.
    fill(sockets[stuck].left.get());
    std::vector<std::thread> readers;
    for (std::size_t i = 0; i < sockets.size(); ++i) {
      if (i == stuck) continue;
      readers.emplace_back([socket = sockets[i].right.get()] {
        std::vector<std::byte> block(1 << 16);
        while (::recv(socket, block.data(), block.size(), 0) > 0) continue;
      });
    }
    const auto sent = send_all_of(sockets, milliseconds(100));
    EXPECT_TRUE(std::all_of(sockets.begin(), sockets.end(), [](const auto& pair) { return is_ended(pair); }));
    for (const auto& pair : sockets) ::shutdown(pair.left.get(), SHUT_RDWR);
    for (auto& reader : readers) reader.join();
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().message, "the peer took nothing of a memory image for 100 ms");
  }
}

TEST(ImageStream, ASlowStreamCarriesLess) {
  const std::vector<SocketPair> sockets(2);
  std::array<std::size_t, 2> bytes{};
  const auto read_all = [&](std::size_t i, milliseconds pause) {
    std::vector<std::byte> block(1 << 18);
    for (ssize_t got = 1; got > 0; bytes[i] += static_cast<std::size_t>(std::max<ssize_t>(got, 0))) {
      got = ::recv(sockets[i].right.get(), block.data(), block.size(), 0);
      std::this_thread::sleep_for(pause);
    }
  };
  std::thread slow([&] { read_all(0, milliseconds(20)); });
  std::thread quick([&] { read_all(1, milliseconds(0)); });
  const auto sent = send_all_of(sockets, kTimeout);
  for (const auto& pair : sockets) ::shutdown(pair.left.get(), SHUT_RDWR);
  slow.join();
  quick.join();
  ASSERT_TRUE(sent);
  EXPECT_GT(bytes[0], 0U);
  EXPECT_LT(bytes[0], bytes[1] / 2);
}

}  // namespace
}  // namespace twinstep::memory::test
