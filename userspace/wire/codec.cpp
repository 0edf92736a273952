// SPDX-License-Identifier: Apache-2.0
#include "wire/codec.hpp"

#include <algorithm>
#include <utility>

#include "wire/bytes.hpp"

namespace twinstep::wire {
namespace {

using session::Message;
using session::MessageType;

constexpr auto kTypeFirst = static_cast<std::uint16_t>(MessageType::prepare);
constexpr auto kTypeLast = static_cast<std::uint16_t>(MessageType::rest_request);

/// The header for `payload` (text and body), and then the payload.
std::vector<std::byte> assemble(Header header, std::span<const std::byte> text, std::span<const std::byte> body) {
  std::vector<std::byte> payload;
  payload.reserve(text.size() + body.size());
  payload.insert(payload.end(), text.begin(), text.end());
  payload.insert(payload.end(), body.begin(), body.end());
  header.text_bytes = static_cast<std::uint16_t>(text.size());
  header.body_bytes = static_cast<std::uint32_t>(body.size());
  header.body_checksum = checksum(payload);
  auto bytes = encode_header(header);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

Result<Frame> decode_hello(const Header& header, std::span<const std::byte> body) {
  ByteReader reader(body);
  Hello hello{header.wire_version, header.abi_version, reader.get_string(), reader.get_string()};
  if (reader.failed() || !reader.at_end()) return fail("the peer's daemon sent a malformed greeting");
  return hello;
}

Result<Frame> decode_message(const Header& header, std::span<const std::byte> text, std::span<const std::byte> body) {
  if (header.type < kTypeFirst || header.type > kTypeLast)
    return fail("the peer's daemon sent a message of unknown type " + std::to_string(header.type));
  Envelope envelope;
  envelope.vm_id = header.vm_id;
  envelope.message.type = static_cast<MessageType>(header.type);
  envelope.message.generation = header.generation;
  envelope.message.pairing = header.pairing;
  envelope.message.epoch = header.epoch;
  std::ranges::transform(text, std::back_inserter(envelope.message.text),
                         [](std::byte value) { return std::to_integer<char>(value); });
  envelope.body.assign(body.begin(), body.end());
  return envelope;
}

}  // namespace

std::vector<std::byte> encode(const Hello& hello) {
  ByteWriter body;
  body.put_string(hello.host);
  body.put_string(hello.software_version);
  Header header;
  header.wire_version = hello.wire_version;
  header.abi_version = hello.abi_version;
  return assemble(header, {}, std::move(body).take());
}

Result<std::vector<std::byte>> encode(std::uint16_t vm_id, const Message& message, std::span<const std::byte> body) {
  if (body.size() > kBodyBytesMax)
    return fail("a control message's body of " + std::to_string(body.size()) + " bytes is over the limit of " +
                std::to_string(kBodyBytesMax));
  Header header;
  header.generation = message.generation;
  header.pairing = message.pairing;
  header.epoch = message.epoch;
  header.type = static_cast<std::uint16_t>(message.type);
  header.vm_id = vm_id;
  const auto text = std::as_bytes(std::span(message.text));
  return assemble(header, text.first(std::min(text.size(), kTextBytesMax)), body);
}

Result<void> check_hello(const Hello& hello, std::string_view expected_host) {
  if (hello.host != expected_host)
    return fail("the peer's daemon says that it is host '" + hello.host +
                "', but the configuration's [peer] name is '" + std::string(expected_host) +
                "': correct the names or the address");
  if (hello.abi_version != TS_ABI_VERSION)
    return fail("the daemon on '" + hello.host + "' is Twinstep " + hello.software_version + " with ABI version " +
                std::to_string(hello.abi_version) + ", this one's is " + std::to_string(TS_ABI_VERSION) +
                ": install the same Twinstep version on both hosts");
  return {};
}

void Decoder::feed(std::span<const std::byte> bytes) {
  if (error_) return;
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(consumed_));
  consumed_ = 0;
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

Result<std::optional<Frame>> Decoder::next() {
  if (error_) return tl::unexpected(*error_);
  auto frame = decode_front();
  if (!frame) {
    error_ = frame.error();
    buffer_ = {};
    consumed_ = 0;
  }
  return frame;
}

Result<std::optional<Frame>> Decoder::decode_front() {
  const auto rest = std::span<const std::byte>(buffer_).subspan(consumed_);
  if (rest.size() < kHeaderBytes) return std::nullopt;
  if (!header_) {
    const auto header = decode_header(rest.first<kHeaderBytes>());
    if (!header) return tl::unexpected(header.error());
    header_ = *header;
  }
  const std::size_t payload_bytes = std::size_t{header_->text_bytes} + header_->body_bytes;
  if (rest.size() < kHeaderBytes + payload_bytes) return std::nullopt;

  const Header header = *std::exchange(header_, std::nullopt);
  consumed_ += kHeaderBytes + payload_bytes;
  const auto payload = rest.subspan(kHeaderBytes, payload_bytes);
  if (checksum(payload) != header.body_checksum)
    return fail("a control message arrived with a damaged body: the connection is closed and made anew");
  const auto text = payload.first(header.text_bytes);
  const auto body = payload.subspan(header.text_bytes);
  return (header.type == kTypeHello ? decode_hello(header, body) : decode_message(header, text, body))
      .map([](Frame&& frame) { return std::optional(std::move(frame)); });
}

}  // namespace twinstep::wire
