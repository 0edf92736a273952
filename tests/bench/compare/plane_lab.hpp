// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/types.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bpf/abi/twinstep_abi.h"
#include "daemon/plane/fabric.hpp"
#include "daemon/plane/plane.hpp"
#include "generator.hpp"
#include "tests/bench/compare/compare_bench.h"

struct compare_bench;

namespace twinstep::bench {

/// The client's programs, loaded.
class ClientPrograms {
 public:
  explicit ClientPrograms(Protocol protocol);
  ~ClientPrograms();
  ClientPrograms(const ClientPrograms&) = delete;
  ClientPrograms& operator=(const ClientPrograms&) = delete;

  /// Attaches natively; a device in the caller's network namespace. Throws std::runtime_error.
  void attach_client(const std::string& device);
  void attach_drop(const std::string& device);
  bench_results& results();
  std::uint64_t* sent_ns();

 private:
  compare_bench* skeleton_;
  std::vector<int> links_;
};

/// Two hosts in network namespaces, each with a tap, an uplink and a link to the other, and the real packet plane of
/// the daemon on both; the other ends of the uplinks are the client, an XDP program. The benchmark is the two guests.
class PlaneLab final : public Sink {
 public:
  /// lent_flows_max: see compare::Limits.
  PlaneLab(Protocol protocol, std::size_t lent_flows_max);
  ~PlaneLab() override;
  PlaneLab(const PlaneLab&) = delete;
  PlaneLab& operator=(const PlaneLab&) = delete;

  void pvm(std::span<const std::byte> frame) override;
  void svm(std::span<const std::byte> frame) override;
  std::uint64_t released() override;
  void stamp(std::uint32_t number, std::uint64_t now_ns) override;

  ClientPrograms& client() { return client_; }
  /// Handshakes that came out.
  std::uint64_t others();
  /// CPU time of both planes' threads and of the kernel's softirq threads.
  std::uint64_t cpu_ns() const;
  daemon::PlaneStats primary() { return a_.plane->stats(); }
  daemon::PlaneStats secondary() { return b_.plane->stats(); }
  /// Frame bytes that the link carried toward the primary.
  std::uint64_t link_bytes() const;
  /// Throws if the planes disagreed.
  void check() const;

 private:
  struct Host {
    std::unique_ptr<daemon::Fabric> fabric;
    std::optional<io::Tap> tap;
    std::unique_ptr<daemon::Plane> plane;
    io::MacAddress link_mac{};
  };
  std::string name(char host) const { return prefix_ + host; }
  void in(char host, const std::function<void()>& work) const;
  void build();
  void start(char name, Host& host);
  void pair();

  std::string prefix_;
  std::size_t lent_flows_max_;
  ClientPrograms client_;
  Host a_, b_;
  std::vector<pid_t> plane_threads_;
  mutable std::mutex mutex_;
  std::string diverged_;
};

/// The generators alone: the same frames written to two taps whose program drops them.
class DropLab final : public Sink {
 public:
  explicit DropLab(Protocol protocol);
  void pvm(std::span<const std::byte> frame) override;
  void svm(std::span<const std::byte> frame) override;
  std::uint64_t released() override { return released_; }
  void stamp(std::uint32_t, std::uint64_t) override {}

 private:
  ClientPrograms client_;
  std::optional<io::Tap> pvm_, svm_;
  std::uint64_t released_ = 0;
};

}  // namespace twinstep::bench
