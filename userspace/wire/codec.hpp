// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/result.hpp"
#include "core/session/message.hpp"
#include "wire/header.hpp"

namespace twinstep::wire {

/// The first thing each daemon says on a new control connection.
struct Hello {
  std::uint16_t wire_version = kWireVersion;
  std::uint16_t abi_version = TS_ABI_VERSION;
  std::string host;              ///< the sender's name
  std::string software_version;  ///< for people
  bool operator==(const Hello&) const = default;
};

/// A session message about one VM, with the bulk data that belongs to it (see bodies.hpp).
struct Envelope {
  std::uint16_t vm_id = 0;
  session::Message message;
  std::vector<std::byte> body;
  bool operator==(const Envelope&) const = default;
};

using Frame = std::variant<Hello, Envelope>;

std::vector<std::byte> encode(const Hello& hello);

/// A text longer than kTextBytesMax is cut there: it is a reason for people and must not stop the message.
/// Error: a body over kBodyBytesMax.
Result<std::vector<std::byte>> encode(std::uint16_t vm_id, const session::Message& message,
                                      std::span<const std::byte> body);

/// An Error if `hello` comes from a daemon that this one cannot work with, or not from `expected_host`.
Result<void> check_hello(const Hello& hello, std::string_view expected_host);

/// Makes frames out of a byte stream that arrives in any pieces. Holds at most one frame and what was fed beyond it.
class Decoder {
 public:
  /// Takes the next bytes of the stream. Call next() until it has nothing before the next feed().
  void feed(std::span<const std::byte> bytes);
  /// The next whole frame; nothing: more bytes are needed. After an Error the stream is lost, and every call repeats
  /// it.
  Result<std::optional<Frame>> next();

 private:
  Result<std::optional<Frame>> decode_front();

  std::vector<std::byte> buffer_;
  std::size_t consumed_ = 0;
  std::optional<Header> header_;  // of the frame at consumed_, once it is whole
  std::optional<Error> error_;
};

}  // namespace twinstep::wire
