// SPDX-License-Identifier: Apache-2.0
#include "wire/codec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <utility>

namespace twinstep::wire {
namespace {

using session::Message;
using session::MessageType;
using testing::HasSubstr;

constexpr std::size_t kWireVersionOffset = 4;
constexpr std::size_t kTextBytesOffset = 44;

std::vector<std::byte> pattern(std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 7 + (i >> 8));
  return out;
}

Envelope sample() {
  return {0xBEEF, Message{MessageType::svm_stopped, 0x1122334455667788, 0xA1B2C3D4, 0x01020304, "the reason"},
          pattern(1000)};
}

std::vector<std::byte> encoded(const Envelope& envelope) {
  return encode(envelope.vm_id, envelope.message, envelope.body).value();
}

/// All frames of a stream, or the first Error.
Result<std::vector<Frame>> decode_all(Decoder& decoder, std::span<const std::byte> bytes) {
  decoder.feed(bytes);
  std::vector<Frame> frames;
  for (;;) {
    auto frame = decoder.next();
    if (!frame) return tl::unexpected(frame.error());
    if (!*frame) return frames;
    frames.push_back(std::move(**frame));
  }
}

std::string error_of(std::span<const std::byte> bytes) {
  Decoder decoder;
  const auto frames = decode_all(decoder, bytes);
  return frames ? "accepted" : frames.error().message;
}

/// Replaces the header by one with another field, its checksum right.
std::vector<std::byte> with_header(std::vector<std::byte> bytes, const std::function<void(Header&)>& change) {
  auto header = decode_header(std::span(bytes).first<kHeaderBytes>()).value();
  change(header);
  std::ranges::copy(encode_header(header), bytes.begin());
  return bytes;
}

TEST(Codec, RoundTripsEveryTypeOfMessage) {
  for (auto type = static_cast<std::uint8_t>(MessageType::prepare);
       type <= static_cast<std::uint8_t>(MessageType::taken_over); ++type) {
    auto envelope = sample();
    envelope.message.type = static_cast<MessageType>(type);
    Decoder decoder;
    const auto frames = decode_all(decoder, encoded(envelope));
    ASSERT_TRUE(frames) << frames.error().message;
    ASSERT_EQ(frames->size(), 1U);
    EXPECT_EQ(std::get<Envelope>(frames->front()), envelope);
  }
}

TEST(Codec, RoundTripsHello) {
  const Hello hello{kWireVersion, TS_ABI_VERSION, "host-a", "0.1.0"};
  Decoder decoder;
  const auto frames = decode_all(decoder, encode(hello));
  ASSERT_TRUE(frames) << frames.error().message;
  ASSERT_EQ(frames->size(), 1U);
  EXPECT_EQ(std::get<Hello>(frames->front()), hello);
}

TEST(Codec, HeaderLiesOnTheWireAsDocumented) {
  const auto bytes = encoded(sample());
  const auto byte_at = [&](std::size_t offset) { return std::to_integer<int>(bytes[offset]); };
  EXPECT_EQ(byte_at(0), 'T');
  EXPECT_EQ(byte_at(3), 'C');
  EXPECT_EQ(byte_at(4), kWireVersion);
  EXPECT_EQ(byte_at(6), TS_ABI_VERSION);
  EXPECT_EQ(byte_at(24), 0x88);  // generation, lowest byte first
  EXPECT_EQ(byte_at(32), 0xD4);  // pairing
  EXPECT_EQ(byte_at(36), 0x04);  // epoch
  EXPECT_EQ(byte_at(40), 1000 & 0xFF);
  EXPECT_EQ(byte_at(44), 10);
  EXPECT_EQ(byte_at(46), static_cast<int>(MessageType::svm_stopped));
  EXPECT_EQ(byte_at(48), 0xEF);
}

TEST(Codec, TakesAStreamInPiecesOfAnySize) {
  std::vector<std::byte> stream = encode(Hello{kWireVersion, TS_ABI_VERSION, "a", "0.1.0"});
  for (int i = 0; i < 5; ++i) {
    auto envelope = sample();
    envelope.message.epoch = static_cast<std::uint32_t>(i);
    const auto bytes = encoded(envelope);
    stream.insert(stream.end(), bytes.begin(), bytes.end());
  }
  for (const std::size_t piece : {1U, 3U, 63U, 64U, 65U, 1000U, 100000U}) {
    Decoder decoder;
    std::size_t count = 0;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      const auto frames = decode_all(decoder, std::span(stream).subspan(at, std::min(piece, stream.size() - at)));
      ASSERT_TRUE(frames) << frames.error().message;
      for (const auto& frame : *frames) {
        if (count > 0) {
          EXPECT_EQ(std::get<Envelope>(frame).message.epoch, count - 1);
        }
        ++count;
      }
    }
    EXPECT_EQ(count, 6U) << "pieces of " << piece;
  }
}

TEST(Codec, GivesNothingForATruncatedFrame) {
  const auto bytes = encoded(sample());
  for (const std::size_t cut : {std::size_t{0}, kHeaderBytes - 1, kHeaderBytes, bytes.size() - 1}) {
    Decoder decoder;
    const auto frames = decode_all(decoder, std::span(bytes).first(cut));
    ASSERT_TRUE(frames);
    EXPECT_TRUE(frames->empty()) << cut;
  }
}

TEST(Codec, RefusesAnyFlippedBit) {
  const auto good = encoded(sample());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bytes = good;
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    Decoder decoder;
    EXPECT_FALSE(decode_all(decoder, bytes)) << "bit " << bit;
  }
}

TEST(Codec, RepeatsItsErrorEvenIfGoodBytesFollow) {
  Decoder decoder;
  const auto first = decode_all(decoder, pattern(kHeaderBytes));
  ASSERT_FALSE(first);
  const auto second = decode_all(decoder, encoded(sample()));
  ASSERT_FALSE(second);
  EXPECT_EQ(first.error().message, second.error().message);
}

TEST(Codec, NamesAForeignProtocol) {
  auto bytes = encoded(sample());
  bytes[0] = std::byte{'H'};
  EXPECT_THAT(error_of(bytes), HasSubstr("not Twinstep's protocol"));
}

TEST(Codec, NamesAnotherWireVersionBeforeAnythingElse) {
  auto bytes = encode(Hello{kWireVersion, TS_ABI_VERSION, "b", "9.9.9"});
  bytes[kWireVersionOffset] = std::byte{9};  // the checksum is now wrong, as another version's rules may have it
  EXPECT_THAT(error_of(bytes), HasSubstr("wire version 9"));
}

TEST(Codec, RefusesLengthsOverTheLimits) {
  const auto bytes = encoded(sample());
  EXPECT_THAT(error_of(with_header(bytes, [](Header& h) { h.body_bytes = kBodyBytesMax + 1; })), HasSubstr("limits"));
  EXPECT_THAT(error_of(with_header(bytes, [](Header& h) { h.text_bytes = kTextBytesMax + 1; })), HasSubstr("limits"));
}

TEST(Codec, RefusesAnUnknownType) {
  EXPECT_THAT(error_of(with_header(encoded(sample()), [](Header& h) { h.type = 999; })), HasSubstr("unknown type 999"));
}

TEST(Codec, RefusesToSendABodyOverTheLimit) {
  const std::vector<std::byte> body(kBodyBytesMax + 1);
  EXPECT_FALSE(encode(1, Message{}, body));
}

TEST(Codec, CutsALongTextAndKeepsTheMessage) {
  auto envelope = sample();
  envelope.message.text = std::string(kTextBytesMax + 100, 'x');
  const auto bytes = encoded(envelope);
  EXPECT_EQ(
      std::to_integer<unsigned>(bytes[kTextBytesOffset]) + 256 * std::to_integer<unsigned>(bytes[kTextBytesOffset + 1]),
      kTextBytesMax);
  Decoder decoder;
  const auto frames = decode_all(decoder, bytes);
  ASSERT_TRUE(frames) << frames.error().message;
  EXPECT_EQ(std::get<Envelope>(frames->front()).message.text, std::string(kTextBytesMax, 'x'));
  EXPECT_EQ(std::get<Envelope>(frames->front()).body, envelope.body);
}

TEST(Codec, SurvivesRandomBytes) {
  std::mt19937 random(20240607);
  for (int round = 0; round < 20000; ++round) {
    auto bytes = encoded({1, Message{MessageType::prepare, 1, 2, 3, "t"}, pattern(random() % 100)});
    for (unsigned changes = 1 + random() % 8; changes > 0; --changes)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    // Half the time with a header that is right for what it says, so that the code behind the checksum is reached.
    if (random() % 2 == 0) {
      bytes = with_header(encoded(sample()), [&](Header& header) {
        header.type = static_cast<std::uint16_t>(random() % 20);
        header.body_bytes = static_cast<std::uint32_t>(random() % 2000);
        header.text_bytes = static_cast<std::uint16_t>(random() % 2000);
        header.body_checksum = random();
      });
    }
    Decoder decoder;
    const auto frames = decode_all(decoder, bytes);
    if (frames) {
      EXPECT_LE(frames->size(), 1U);
    }
  }
}

TEST(Hello, OfTheExpectedPeerIsAccepted) {
  EXPECT_TRUE(check_hello(Hello{kWireVersion, TS_ABI_VERSION, "b", "0.1.0"}, "b"));
}

TEST(Hello, OfAnotherAbiNamesBothVersions) {
  const auto result = check_hello(Hello{kWireVersion, TS_ABI_VERSION + 1, "b", "9.9.9"}, "b");
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("Twinstep 9.9.9"));
  EXPECT_THAT(result.error().message, HasSubstr("install the same Twinstep version"));
}

TEST(Hello, OfAnotherHostNamesBothHosts) {
  const auto result = check_hello(Hello{kWireVersion, TS_ABI_VERSION, "c", "0.1.0"}, "b");
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("'c'"));
  EXPECT_THAT(result.error().message, HasSubstr("'b'"));
}

}  // namespace
}  // namespace twinstep::wire
