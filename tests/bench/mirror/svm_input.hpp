// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "segment.hpp"

namespace twinstep::bench {

/// Gives the SVM what the clients sent to the PVM, when the SVM can take it: an acknowledgement of what it hasn't sent,
/// or data beyond its window, would end its connection. Until then the segment waits, and the SVM is told of what it
/// has sent itself. Numbers are made the SVM's. All but TCP over IPv4 passes at once. Connections must begin after this
/// object, and a guest must not use a port twice.
class SvmInput {
 public:
  /// deliver: gives the SVM a frame; false: it has no room now. opened: the SVM has sent a SYN or SYN-ACK; returns what
  /// may have been added to some acknowledgements of the client since.
  /// waiting_bytes_max: of what waits at a time; a frame for which there is no more room is dropped, and counted.
  SvmInput(std::function<bool(const Bytes&)> deliver, std::function<std::uint32_t(const ConnectionKey&)> opened,
           std::size_t waiting_bytes_max = std::size_t{256} << 20)
      : deliver_(std::move(deliver)), opened_(std::move(opened)), waiting_bytes_max_(waiting_bytes_max) {}

  void on_svm(std::span<const std::byte> frame);
  void on_client(Bytes frame);
  /// Delivers what may go. After each batch, and again while it returns true: the SVM had no room.
  bool pump();

  std::size_t waiting_bytes() const { return waiting_bytes_; }
  std::size_t waiting_bytes_peak() const { return waiting_bytes_peak_; }
  std::uint64_t dropped() const { return dropped_; }

 private:
  struct Waiting {
    Bytes frame;
    Segment segment;
  };
  struct Connection {
    std::optional<std::uint32_t> pvm_isn;
    std::optional<std::uint32_t> svm_isn;
    std::optional<std::uint32_t> svm_syn_tsval;
    std::uint32_t pvm_acked = 0;  // by the client
    std::uint32_t shift = 0;      // which some acknowledgements may carry
    std::uint32_t svm_next = 0;   // behind the last number it sent
    std::uint32_t svm_edge = 0;   // right edge of its window
    std::uint8_t svm_scale = 0;
    std::uint32_t acked = 0;  // as the SVM was told
    std::deque<Waiting> waiting;
    bool listed = false;
  };

  void enlist(Connection& connection);
  bool take_room(std::size_t bytes);
  static void note_ack(Connection& connection, Segment& segment);
  bool pump(Connection& connection);
  bool has_sent(const Connection& connection, const Segment& segment) const;
  bool acknowledge(Connection& connection);
  bool give(Connection& connection, Waiting& next);

  std::function<bool(const Bytes&)> deliver_;
  std::function<std::uint32_t(const ConnectionKey&)> opened_;
  std::map<ConnectionKey, Connection> connections_;  // as many as the one client has ports, at most
  std::deque<Bytes> others_;
  std::vector<Connection*> listed_;
  std::size_t waiting_bytes_ = 0;
  std::size_t waiting_bytes_peak_ = 0;
  std::size_t waiting_bytes_max_;
  std::uint64_t dropped_ = 0;
};

}  // namespace twinstep::bench
