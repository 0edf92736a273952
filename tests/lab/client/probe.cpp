// SPDX-License-Identifier: Apache-2.0
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "commands.hpp"
#include "content.hpp"
#include "io/unique_fd.hpp"
#include "measure.hpp"
#include "system.hpp"

namespace twinstep::lab {
namespace {

constexpr std::uint64_t kPollNsMax = 50 * kNsPerMs;
/// How long after the last probe its answer still counts.
constexpr std::uint64_t kLastAnswerNs = 3 * kNsPerSecond;
constexpr std::size_t kDatagramBytesMax = 65536;
constexpr std::size_t kSequenceBytes = 8;

/// Carries a payload to the echo service and back.
class EchoSocket {
 public:
  explicit EchoSocket(io::UniqueFd socket) : socket_(std::move(socket)) {}
  EchoSocket(const EchoSocket&) = delete;
  EchoSocket& operator=(const EchoSocket&) = delete;
  virtual ~EchoSocket() = default;

  int fd() const { return socket_.get(); }
  virtual bool send_payload(std::span<const unsigned char> payload) = 0;
  /// The payload of the next answer; nothing when none has come.
  virtual std::optional<std::vector<unsigned char>> receive_payload() = 0;

 protected:
  std::optional<std::span<const unsigned char>> receive_datagram() {
    const ssize_t received = recv(fd(), buffer_.data(), buffer_.size(), 0);
    if (received < 0) return std::nullopt;
    return std::span<const unsigned char>(buffer_.data(), static_cast<std::size_t>(received));
  }

 private:
  io::UniqueFd socket_;
  std::array<unsigned char, kDatagramBytesMax> buffer_{};
};

class UdpEcho : public EchoSocket {
 public:
  using EchoSocket::EchoSocket;

  bool send_payload(std::span<const unsigned char> payload) override {
    return send(fd(), payload.data(), payload.size(), 0) == static_cast<ssize_t>(payload.size());
  }

  std::optional<std::vector<unsigned char>> receive_payload() override {
    const auto datagram = receive_datagram();
    if (!datagram) return std::nullopt;
    return std::vector<unsigned char>(datagram->begin(), datagram->end());
  }
};

/// RFC 1071.
std::uint16_t internet_checksum(std::span<const unsigned char> data) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < data.size(); ++i) sum += i % 2 == 0 ? std::uint32_t{data[i]} << 8 : data[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

/// Echo request and reply of RFC 792, over a raw socket, which also gets other programs' replies and the IP header.
class IcmpEcho : public EchoSocket {
 public:
  using EchoSocket::EchoSocket;

  bool send_payload(std::span<const unsigned char> payload) override {
    icmphdr header{};
    header.type = ICMP_ECHO;
    header.un.echo.id = htons(id_);
    header.un.echo.sequence = htons(++sequence_);
    std::vector<unsigned char> message(sizeof(header));
    std::memcpy(message.data(), &header, sizeof(header));
    message.insert(message.end(), payload.begin(), payload.end());
    header.checksum = htons(internet_checksum(message));
    std::memcpy(message.data(), &header, sizeof(header));
    return send(fd(), message.data(), message.size(), 0) == static_cast<ssize_t>(message.size());
  }

  std::optional<std::vector<unsigned char>> receive_payload() override {
    while (const auto packet = receive_datagram()) {
      if (auto payload = payload_of_reply(*packet)) return payload;
    }
    return std::nullopt;
  }

 private:
  std::optional<std::vector<unsigned char>> payload_of_reply(std::span<const unsigned char> packet) const {
    iphdr ip{};
    icmphdr icmp{};
    if (packet.size() < sizeof(ip)) return std::nullopt;
    std::memcpy(&ip, packet.data(), sizeof(ip));
    const std::size_t ip_bytes = std::size_t{ip.ihl} * 4;
    if (packet.size() < ip_bytes + sizeof(icmp)) return std::nullopt;
    std::memcpy(&icmp, packet.data() + ip_bytes, sizeof(icmp));
    if (icmp.type != ICMP_ECHOREPLY || ntohs(icmp.un.echo.id) != id_) return std::nullopt;
    const auto payload = packet.subspan(ip_bytes + sizeof(icmp));
    return std::vector<unsigned char>(payload.begin(), payload.end());
  }

  std::uint16_t id_ = static_cast<std::uint16_t>(getpid());
  std::uint16_t sequence_ = 0;
};

Result<std::unique_ptr<EchoSocket>> open_echo(const ProbeOptions& options) {
  const bool icmp = options.kind == ProbeKind::kIcmp;
  constexpr int kFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  io::UniqueFd socket_fd(icmp ? socket(AF_INET, SOCK_RAW | kFlags, IPPROTO_ICMP)
                              : socket(AF_INET, SOCK_DGRAM | kFlags, 0));
  if (!socket_fd) {
    return fail(std::string("cannot open a socket: ") + std::strerror(errno) + "; ICMP needs root");
  }
  sockaddr address{};
  std::memcpy(&address, &options.address, sizeof(address));
  if (connect(socket_fd.get(), &address, sizeof(address)) != 0) {
    return fail(std::string("no route to the host: ") + std::strerror(errno));
  }
  if (icmp) return std::make_unique<IcmpEcho>(std::move(socket_fd));
  return std::make_unique<UdpEcho>(std::move(socket_fd));
}

/// Sends numbered probes and books their answers.
class Probes {
 public:
  Probes(const ProbeOptions& options, EchoSocket& echo)
      : options_(options), echo_(echo), answers_(2 * options.interval_ms * kNsPerMs) {}

  nlohmann::json run() {
    const std::uint64_t start_ns = monotonic_ns();
    const std::uint64_t last_send_ns = start_ns + options_.seconds * kNsPerSecond;
    std::uint64_t next_ns = start_ns;
    std::uint64_t deadline_ns = 0;
    answers_.start(start_ns);
    for (;;) {
      const std::uint64_t now_ns = monotonic_ns();
      const bool sending = now_ns < last_send_ns && stop_requests() == 0;
      if (sending && now_ns >= next_ns) {
        send_probe(now_ns);
        next_ns += options_.interval_ms * kNsPerMs;
      }
      if (!sending && deadline_ns == 0) deadline_ns = now_ns + kLastAnswerNs;
      if (!sending && (received() == sent_ns_.size() || now_ns >= deadline_ns || stop_requests() > 1)) break;
      wait_for_answers(sending ? next_ns : deadline_ns);
    }
    return report(start_ns);
  }

 private:
  std::size_t received() const { return latency_.count(); }

  std::vector<unsigned char> payload_of(std::uint64_t number) const {
    std::vector<unsigned char> payload(options_.bytes);
    copy_content(number, 0, payload.data(), payload.size());
    std::memcpy(payload.data(), &number, kSequenceBytes);
    return payload;
  }

  void send_probe(std::uint64_t now_ns) {
    const std::uint64_t number = sent_ns_.size();
    sent_ns_.push_back(now_ns);
    answered_.push_back(false);
    if (!echo_.send_payload(payload_of(number))) ++send_errors_;
  }

  void wait_for_answers(std::uint64_t until_ns) {
    const std::uint64_t before_ns = monotonic_ns();
    const std::uint64_t wait_ns = until_ns > before_ns ? std::min(until_ns - before_ns, kPollNsMax) : 0;
    pollfd entry{echo_.fd(), POLLIN, 0};
    poll(&entry, 1, static_cast<int>((wait_ns + kNsPerMs - 1) / kNsPerMs));
    while (const auto payload = echo_.receive_payload()) take_answer(*payload, monotonic_ns());
  }

  void take_answer(const std::vector<unsigned char>& payload, std::uint64_t now_ns) {
    std::uint64_t number = 0;
    if (payload.size() >= kSequenceBytes) std::memcpy(&number, payload.data(), kSequenceBytes);
    if (payload.size() != options_.bytes || number >= sent_ns_.size() || payload != payload_of(number)) {
      ++wrong_;
    } else if (answered_[number]) {
      ++duplicates_;
    } else {
      answered_[number] = true;
      latency_.add(now_ns - sent_ns_[number]);
      answers_.arrival(now_ns);
    }
  }

  nlohmann::json report(std::uint64_t start_ns) const {
    nlohmann::json result = {{"command", options_.kind == ProbeKind::kIcmp ? "ping" : "udp"},
                             {"start_ns", start_ns},
                             {"end_ns", monotonic_ns()},
                             {"sent", sent_ns_.size()},
                             {"send_errors", send_errors_},
                             {"received", received()},
                             {"lost", sent_ns_.size() - received()},
                             {"duplicates", duplicates_},
                             {"wrong", wrong_}};
    result.update(latency_.report());
    result.update(answers_.report());
    return result;
  }

  ProbeOptions options_;
  EchoSocket& echo_;
  std::vector<std::uint64_t> sent_ns_;
  std::vector<bool> answered_;
  std::uint64_t send_errors_ = 0;
  std::uint64_t duplicates_ = 0;
  std::uint64_t wrong_ = 0;
  LatencyMeter latency_;
  GapMeter answers_;
};

}  // namespace

Result<nlohmann::json> run_probe(const ProbeOptions& options) {
  auto echo = open_echo(options);
  if (!echo) return tl::unexpected(echo.error());
  return Probes(options, **echo).run();
}

}  // namespace twinstep::lab
