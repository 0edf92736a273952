// SPDX-License-Identifier: Apache-2.0
#include "fetch.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "content.hpp"

namespace twinstep::lab {
namespace {

constexpr std::size_t kHeadBytesMax = 4096;
constexpr std::size_t kReceiveBytes = 65536;
/// Bounds one advance(), so that one fast connection cannot starve the others.
constexpr int kReceivesPerAdvance = 16;

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

const char* to_string(Failure failure) {
  switch (failure) {
    case Failure::kNone:
      return "none";
    case Failure::kRefused:
      return "refused";
    case Failure::kReset:
      return "reset";
    case Failure::kTimeout:
      return "timeout";
    case Failure::kClosedEarly:
      return "closed_early";
    case Failure::kBadHead:
      return "bad_head";
    case Failure::kWrongBytes:
      return "wrong_bytes";
    case Failure::kInterrupted:
      return "interrupted";
  }
  return "unknown";
}

Fetch::Fetch(Request request, std::uint64_t now_ns, GapMeter* arrivals)
    : request_(std::move(request)),
      arrivals_(arrivals),
      socket_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      start_ns_(now_ns),
      progress_ns_(now_ns) {
  sockaddr address{};
  static_assert(sizeof(address) == sizeof(request_.address));
  std::memcpy(&address, &request_.address, sizeof(address));
  if (!socket_ || (connect(fd(), &address, sizeof(address)) != 0 && errno != EINPROGRESS)) {
    end(Failure::kRefused, now_ns);
  }
}

short Fetch::poll_events() const {
  return phase_ == Phase::kConnecting ? POLLOUT : POLLIN;
}

void Fetch::advance(std::uint64_t now_ns, bool ready) {
  if (done()) return;
  if (ready && phase_ == Phase::kConnecting) {
    finish_connect(now_ns);
  } else if (ready) {
    receive(now_ns);
  }
  if (!done() && now_ns - progress_ns_ >= kFetchTimeoutNs) end(Failure::kTimeout, now_ns);
}

void Fetch::interrupt(std::uint64_t now_ns) {
  if (!done()) end(Failure::kInterrupted, now_ns);
}

void Fetch::finish_connect(std::uint64_t now_ns) {
  int error = 0;
  socklen_t error_bytes = sizeof(error);
  getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &error_bytes);
  if (error == ETIMEDOUT) return end(Failure::kTimeout, now_ns);
  if (error != 0) return end(Failure::kRefused, now_ns);
  send_request(now_ns);
}

void Fetch::send_request(std::uint64_t now_ns) {
  const std::string text = "GET " + request_.path + "?seed=" + std::to_string(request_.seed) +
                           " HTTP/1.1\r\nHost: twinstep\r\nConnection: close\r\n\r\n";
  // A request of this size always fits a new connection's empty buffer.
  if (send(fd(), text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    return end(Failure::kReset, now_ns);
  }
  phase_ = Phase::kHead;
  progress_ns_ = now_ns;
}

void Fetch::receive(std::uint64_t now_ns) {
  static std::array<unsigned char, kReceiveBytes> buffer;
  for (int i = 0; i < kReceivesPerAdvance && !done(); ++i) {
    const ssize_t received = recv(fd(), buffer.data(), buffer.size(), 0);
    if (received < 0 && would_block(errno)) return;
    if (received < 0) return end(errno == ETIMEDOUT ? Failure::kTimeout : Failure::kReset, now_ns);
    if (received == 0) return take_end(now_ns);
    progress_ns_ = now_ns;
    if (phase_ == Phase::kHead) {
      take_head(buffer.data(), static_cast<std::size_t>(received), now_ns);
    } else {
      take_body(buffer.data(), static_cast<std::size_t>(received), now_ns);
    }
  }
}

void Fetch::take_head(const unsigned char* data, std::size_t bytes, std::uint64_t now_ns) {
  const std::size_t bytes_before = head_.size();
  head_.append(data, data + bytes);
  const std::size_t empty_line = head_.find("\r\n\r\n");
  if (empty_line == std::string::npos) {
    if (head_.size() > kHeadBytesMax) end(Failure::kBadHead, now_ns);
    return;
  }
  const std::size_t head_bytes = empty_line + 4;
  if (!head_is_right(head_.substr(0, head_bytes))) return end(Failure::kBadHead, now_ns);
  phase_ = Phase::kBody;
  const std::size_t used = head_bytes - bytes_before;
  take_body(data + used, bytes - used, now_ns);
}

bool Fetch::head_is_right(const std::string& head) const {
  return head.starts_with("HTTP/1.1 200 ") &&
         head.find("\r\nContent-Length: " + std::to_string(request_.bytes) + "\r\n") != std::string::npos;
}

void Fetch::take_body(const unsigned char* data, std::size_t bytes, std::uint64_t now_ns) {
  const std::size_t expected = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, request_.bytes - bytes_));
  bytes_wrong_ += count_wrong_bytes(request_.seed, bytes_, data, expected) + (bytes - expected);
  bytes_ += expected;
  if (arrivals_ != nullptr && expected > 0) arrivals_->arrival(now_ns);
  if (phase_ == Phase::kBody && bytes_ == request_.bytes) {
    phase_ = Phase::kClosing;
    end_ns_ = now_ns;
  }
}

void Fetch::take_end(std::uint64_t now_ns) {
  if (phase_ != Phase::kClosing) return end(Failure::kClosedEarly, now_ns);
  end(Failure::kNone, now_ns);
}

void Fetch::end(Failure failure, std::uint64_t now_ns) {
  failure_ = failure == Failure::kNone && bytes_wrong_ > 0 ? Failure::kWrongBytes : failure;
  if (failure_ != Failure::kNone || end_ns_ == 0) end_ns_ = now_ns;
  phase_ = Phase::kDone;
  socket_.reset();
}

}  // namespace twinstep::lab
