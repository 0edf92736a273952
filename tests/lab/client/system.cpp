// SPDX-License-Identifier: Apache-2.0
#include "system.hpp"

#include <arpa/inet.h>

#include <csignal>
#include <ctime>

namespace twinstep::lab {
namespace {

volatile std::sig_atomic_t stop_signals = 0;

void on_stop_signal(int /*signal*/) {
  stop_signals = stop_signals + 1;
}

}  // namespace

std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

double to_ms(std::uint64_t duration_ns) {
  return static_cast<double>(duration_ns) / static_cast<double>(kNsPerMs);
}

Result<sockaddr_in> parse_address(const std::string& host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    return fail("'" + host + "' is no IPv4 address: give one in dotted form, such as 10.77.0.10");
  }
  return address;
}

void count_stop_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

int stop_requests() {
  return stop_signals;
}

}  // namespace twinstep::lab
