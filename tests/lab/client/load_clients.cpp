// SPDX-License-Identifier: Apache-2.0
// The clients of the loads, one class for each kind of traffic.
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "content.hpp"
#include "load.hpp"
#include "system.hpp"

namespace twinstep::lab {
namespace {

tl::unexpected<OperationError> failed(std::string what, std::uint64_t bytes_wrong = 0) {
  return tl::unexpected(OperationError{std::move(what), bytes_wrong});
}

std::string content_target(std::uint64_t bytes, std::uint64_t seed) {
  return "/bytes/" + std::to_string(bytes) + "?seed=" + std::to_string(seed);
}

/// A client of the HTTP server. A connection that saw an error is given up.
class HttpClient : public LoadClient {
 public:
  HttpClient(const LoadOptions& options, std::uint64_t number)
      : connection_(options.address), bytes_(options.bytes), seed_(number) {}

  Outcome<std::uint64_t> operate() final {
    auto done = connection_.open().and_then([this] { return exchange(); });
    if (!done) connection_.close();
    return done;
  }

 protected:
  virtual Outcome<std::uint64_t> exchange() = 0;

  Outcome<std::uint64_t> get_content(const std::string& extra) {
    return connection_.request("GET", content_target(bytes_, seed_), extra)
        .and_then([this] { return connection_.response(); })
        .and_then([this](std::uint64_t bytes) {
          return bytes == bytes_ ? connection_.receive_content(seed_, 0, bytes) : failed("bad_head");
        })
        .map([this] { return bytes_; });
  }

  Connection connection_;
  std::uint64_t bytes_;
  std::uint64_t seed_;
};

/// A download without end; `bytes` of it are an operation.
class Download : public HttpClient {
 public:
  using HttpClient::HttpClient;

 private:
  Outcome<std::uint64_t> exchange() override {
    constexpr std::uint64_t kEndless = 1'000'000'000'000;
    if (left_ < bytes_) {
      connection_.close();
      auto begun = connection_.open()
                       .and_then([this] { return connection_.request("GET", content_target(kEndless, seed_)); })
                       .and_then([this] { return connection_.response(); });
      if (!begun) return begun;
      left_ = kEndless;
    }
    const auto received = connection_.receive_content(seed_, kEndless - left_, bytes_);
    left_ = received ? left_ - bytes_ : 0;
    return received.map([this] { return bytes_; });
  }

  std::uint64_t left_ = 0;
};

class Upload : public HttpClient {
 public:
  Upload(const LoadOptions& options, std::uint64_t number) : HttpClient(options, number), body_(options.bytes) {
    copy_content(number, 0, body_.data(), body_.size());
    std::array<char, 96> text{};
    std::snprintf(text.data(), text.size(), "{\"bytes\":%zu,\"fnv1a64\":\"%016" PRIx64 "\"}\n", body_.size(),
                  fnv1a64());
    expected_ = text.data();
  }

 private:
  std::uint64_t fnv1a64() const {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const unsigned char byte : body_) hash = (hash ^ byte) * 0x100000001b3U;
    return hash;
  }

  Outcome<std::uint64_t> exchange() override {
    return connection_.request("PUT", "/upload", "Content-Length: " + std::to_string(bytes_) + "\r\n")
        .and_then([this] { return connection_.send(body_.data(), body_.size()); })
        .and_then([this] { return connection_.response(); })
        .and_then([this](std::uint64_t bytes) { return connection_.receive_text(bytes); })
        .and_then([this](const std::string& answer) -> Outcome<std::uint64_t> {
          if (answer != expected_) return failed("wrong_bytes", bytes_);
          return bytes_;
        });
  }

  std::vector<unsigned char> body_;
  std::string expected_;
};

class Requests : public HttpClient {
 public:
  using HttpClient::HttpClient;

 private:
  Outcome<std::uint64_t> exchange() override {
    auto done = get_content("Connection: close\r\n");
    connection_.close();
    return done;
  }
};

class Persistent : public HttpClient {
 public:
  using HttpClient::HttpClient;

 private:
  Outcome<std::uint64_t> exchange() override { return get_content({}); }
};

/// The guest's clock, which must never go back.
class Clock : public HttpClient {
 public:
  using HttpClient::HttpClient;

 private:
  Outcome<std::uint64_t> exchange() override {
    return connection_.request("GET", "/clock")
        .and_then([this] { return connection_.response(); })
        .and_then([this](std::uint64_t bytes) { return connection_.receive_text(bytes); })
        .and_then([this](const std::string& answer) -> Outcome<std::uint64_t> {
          std::uint64_t clock_ns = 0;
          if (std::sscanf(answer.c_str(), "{\"monotonic_ns\":%" SCNu64 "}", &clock_ns) != 1 || clock_ns < latest_ns_)
            return failed("wrong_bytes", answer.size());
          latest_ns_ = clock_ns;
          return answer.size();
        });
  }

  std::uint64_t latest_ns_ = 0;
};

/// Asks the guest over one connection to open others.
class Opened : public HttpClient {
 public:
  Opened(const LoadOptions& options, std::uint64_t number, Listener listener)
      : HttpClient(options, number), listener_(std::move(listener)) {}

 private:
  Outcome<std::uint64_t> exchange() override {
    const std::string target = "/connect/" + std::to_string(listener_.port()) + "/" + std::to_string(bytes_) +
                               "?seed=" + std::to_string(seed_);
    return connection_.request("GET", target)
        .and_then([this] { return listener_.take(seed_, bytes_); })
        .and_then([this] { return connection_.response(); })
        .and_then([this](std::uint64_t bytes) { return connection_.receive_text(bytes); })
        .map([this](const std::string& /*answer*/) { return bytes_; });
  }

  Listener listener_;
};

/// One datagram after the other to the echo port, each with a number of its own.
class UdpRoundTrips : public LoadClient {
 public:
  UdpRoundTrips(io::UniqueFd socket, std::uint64_t bytes, std::uint64_t number)
      : socket_(std::move(socket)), payload_(bytes), received_(bytes + 1) {
    copy_content(number, 0, payload_.data(), payload_.size());
  }

  static Result<std::unique_ptr<LoadClient>> open(const LoadOptions& options, std::uint64_t number) {
    io::UniqueFd endpoint(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const timeval timeout{.tv_sec = 1, .tv_usec = 0};
    sockaddr address{};
    std::memcpy(&address, &options.address, sizeof(address));
    if (!endpoint || setsockopt(endpoint.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
        connect(endpoint.get(), &address, sizeof(address)) != 0)
      return fail(std::string("no UDP socket to the guest: ") + std::strerror(errno));
    return std::make_unique<UdpRoundTrips>(std::move(endpoint), options.bytes, number);
  }

  Outcome<std::uint64_t> operate() override {
    ++count_;
    std::memcpy(payload_.data(), &count_, sizeof(count_));
    if (send(socket_.get(), payload_.data(), payload_.size(), 0) < 0) return failed("refused");
    for (;;) {
      const ssize_t bytes = recv(socket_.get(), received_.data(), received_.size(), 0);
      if (bytes < 0) return failed("timeout");
      std::uint64_t number = 0;
      if (bytes >= static_cast<ssize_t>(sizeof(number))) std::memcpy(&number, received_.data(), sizeof(number));
      if (number != 0 && number < count_) continue;  // late or doubled: of an earlier one
      const bool right = static_cast<std::size_t>(bytes) == payload_.size() &&
                         std::memcmp(received_.data(), payload_.data(), payload_.size()) == 0;
      if (!right) return failed("wrong_bytes", static_cast<std::uint64_t>(bytes));
      return payload_.size();
    }
  }

 private:
  io::UniqueFd socket_;
  std::vector<unsigned char> payload_;
  std::vector<unsigned char> received_;
  std::uint64_t count_ = 0;
};

template <typename Client>
std::unique_ptr<LoadClient> make(const LoadOptions& options, std::uint64_t number) {
  return std::make_unique<Client>(options, number);
}

}  // namespace

Result<std::unique_ptr<LoadClient>> make_load_client(const LoadOptions& options, std::uint64_t number) {
  switch (options.kind) {
    case LoadKind::download:
      return make<Download>(options, number);
    case LoadKind::upload:
      return make<Upload>(options, number);
    case LoadKind::requests:
      return make<Requests>(options, number);
    case LoadKind::persistent:
      return make<Persistent>(options, number);
    case LoadKind::udp:
      return UdpRoundTrips::open(options, number);
    case LoadKind::opened:
      return Listener::open().map([&](Listener listener) -> std::unique_ptr<LoadClient> {
        return std::make_unique<Opened>(options, number, std::move(listener));
      });
    case LoadKind::clock:
      return make<Clock>(options, number);
  }
  return fail("no such load");
}

}  // namespace twinstep::lab
