// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "generator.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::bench {

/// QEMU's own comparison: the colo-compare object alone, in a QEMU without a machine, fed on its sockets. Frames there
/// follow a length of 4 bytes, big-endian (QEMU: net/socket.c).
class Peer final : public Sink {
 public:
  /// Starts `qemu` on a processor of its own. Throws std::runtime_error.
  Peer(const std::string& qemu, Protocol protocol);
  ~Peer() override;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void pvm(std::span<const std::byte> frame) override { send(primary_.get(), frame); }
  void svm(std::span<const std::byte> frame) override { send(secondary_.get(), frame); }
  std::uint64_t released() override;
  void stamp(std::uint32_t number, std::uint64_t now_ns) override;

  /// While timing, released() reads what came out, and each packet is timed. Otherwise a thread of its own reads.
  void set_timing(bool on);
  std::uint64_t cpu_ns() const;
  /// ns, by which twin was first: [0] the SVM's.
  const std::vector<std::uint64_t>& latencies(int pvm_first) const { return latencies_[pvm_first]; }

 private:
  void start(const std::string& qemu);
  void await_ready();
  io::UniqueFd connect_to(const std::string& name) const;
  void send(int fd, std::span<const std::byte> frame);
  void read_once(bool wait);
  void take(std::span<const std::byte> frame);

  std::size_t number_offset_;
  std::string directory_;
  pid_t process_ = -1;
  io::UniqueFd primary_, secondary_, out_;
  std::vector<std::byte> input_;
  std::size_t input_bytes_ = 0;
  std::vector<std::byte> message_;
  std::uint64_t packets_ = 0;  // atomic access
  bool timing_ = false;
  bool stopping_ = false;  // atomic access
  std::thread reader_;
  std::vector<std::uint64_t> sent_ns_;
  std::vector<std::uint64_t> latencies_[2];
};

}  // namespace twinstep::bench
