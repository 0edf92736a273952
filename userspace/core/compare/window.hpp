// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/compare/frame.hpp"

namespace twinstep::compare {

/// The last segment that went out with a smaller window than the PVM gave it.
struct LimitedSegment {
  std::vector<std::byte> headers;
  std::uint32_t ack = 0;
  std::uint32_t seq = 0;
  std::uint32_t edge = 0;  ///< as the client knows it
};

/// The window rule of one connection: what is advertised to the client is the smaller right edge of the two VMs, or the
/// client overruns the one with less room. All numbers are the client's, which are equal on both sides.
class WindowRule {
 public:
  void set_scale(std::uint8_t scale) { scale_ = scale; }
  std::uint8_t scale() const { return scale_; }

  /// The PVM advertised this, whether or not it went out already.
  void on_pvm(std::uint32_t ack, std::uint16_t window);
  void on_svm(std::uint32_t ack, std::uint16_t window);
  /// Nothing has to be told to the client later, and both VMs have advertised something.
  bool is_free() const { return pvm_edge_ && svm_edge_ && !limited_; }
  /// Only if is_free().
  std::uint32_t pvm_edge() const { return *pvm_edge_; }
  std::uint32_t svm_edge() const { return *svm_edge_; }
  /// What was advertised elsewhere.
  void raise_edges(std::uint32_t pvm_edge, std::uint32_t svm_edge);
  /// Both VMs have the PVM's state.
  void join() { svm_edge_ = pvm_edge_; }

  /// A segment with these fields goes out: the window field that replaces its own; nothing: it may stay. When the SVM
  /// limits it, the headers of `frame` are kept to tell the client later. `seq_end`: where the PVM's stream goes on.
  std::optional<std::uint16_t> on_release(std::uint32_t ack, std::uint16_t window, std::uint32_t seq_end,
                                          std::span<const std::byte> frame);
  /// Frames went out as the PVM sent them.
  void on_release_unlimited() { limited_.reset(); }

  /// A window update for the client, if the edge that went out last was limited and has opened since by more than
  /// `bytes_min`, or from a window of zero.
  std::optional<std::vector<std::byte>> update(std::uint32_t bytes_min);

 private:
  std::uint8_t scale_ = 0;
  std::optional<std::uint32_t> pvm_edge_;
  std::optional<std::uint32_t> svm_edge_;
  std::optional<LimitedSegment> limited_;
};

/// A pure ACK made from what copy_headers() gave, of a sender that goes on at `seq`; checksums are made anew.
std::vector<std::byte> make_window_update(std::span<const std::byte> headers, std::uint32_t seq, std::uint16_t window);

/// Makes `to` the headers of a frame that parse() classed as TCP: the same segment with no payload, but for TCP's
/// checksum.
void copy_headers(std::span<const std::byte> frame, std::vector<std::byte>& to);

}  // namespace twinstep::compare
