// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "frame_maker.hpp"

namespace twinstep::bench {

/// Where twins go, and what comes out.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void pvm(std::span<const std::byte> frame) = 0;
  virtual void svm(std::span<const std::byte> frame) = 0;
  /// Packets that came out so far. May do the work of receiving.
  virtual std::uint64_t released() = 0;
  /// A packet's later twin is about to be sent.
  virtual void stamp(std::uint32_t number, std::uint64_t now_ns) = 0;
};

struct Pushed {
  std::uint64_t packets = 0;  ///< twins sent
  std::uint64_t wall_ns = 0;
  std::uint64_t generator_ns = 0;  ///< CPU time of making and writing both twins, the kernel's work in it included
};

/// Sends twin packets. Which twin is first changes between blocks, so that the SVM's is in `svm_first` of them, by far
/// more than a daemon needs to see it.
class Generator {
 public:
  /// svm_first: 0..1. svm_lag: how much smaller the SVM's initial sequence numbers are than the PVM's.
  Generator(const Traffic& traffic, double svm_first, std::uint32_t svm_lag);

  /// Opens all connections. Returns how many packets come out of it.
  std::size_t open(Sink& sink);
  /// As fast as the sink takes it, with a bounded number of packets under way. Throws std::runtime_error if what was
  /// sent does not come out.
  Pushed saturate(Sink& sink, std::uint64_t duration_ns);
  /// One packet every `interval_ns`, its twins half of that apart.
  Pushed pace(Sink& sink, std::uint64_t duration_ns, std::uint64_t interval_ns);

 private:
  bool svm_leads();
  void send_block(Sink& sink, Pushed& pushed);
  void await_room(Sink& sink, std::uint64_t under_way_max) const;

  Traffic traffic_;
  double svm_first_;
  double owed_ = 0;
  FrameMaker pvm_, svm_;
  std::uint32_t next_ = 0;  // number of the next packet
  std::uint64_t sent_ = 0;
  std::uint64_t released_before_ = 0;
};

}  // namespace twinstep::bench
