// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "context.hpp"
#include "core/failover/record.hpp"
#include "image.hpp"

namespace twinstep::sim {

/// Part of a TCP stream, by position: bytes, and the marks that SYN and FIN are.
class StreamPart {
 public:
  using Value = std::uint16_t;
  static constexpr Value kNothing = 0xffff;
  static constexpr Value kSynMark = 0x100;
  static constexpr Value kFinMark = 0x101;
  /// What `packet` holds at `offset` after its position.
  static Value value_of(const Packet& packet, std::uint64_t offset);

  Value at(std::uint64_t position) const;
  void set(std::uint64_t position, Value value);
  std::uint64_t end() const { return start_ + values_.size(); }

 private:
  std::uint64_t start_ = 0;
  std::vector<Value> values_;
};

/// I1, output commit. Knows what each guest really sent, and judges each frame that leaves without asking the comparer.
class OutputCommit {
 public:
  explicit OutputCommit(Context& context) : context_(context) {}

  /// The PVM on `host` was stopped in this state; the next image's number.
  ImageId image_made(HostIndex host, const GuestState& state);
  /// The secondary holds all of it.
  void image_whole(ImageId image) { images_.at(image).whole = true; }
  /// The SVM, continued from `image`, sent this.
  void svm_sent(ImageId image, const Packet& packet);
  /// A frame that the PVM sent after `image` was made leaves, and the arbiter's record is this.
  void released(HostIndex host, ImageId image, const Packet& packet, const failover::Record& record);
  /// A frame leaves a host that owns the VM alone, or one that no VM sent and that tells nothing new.
  void spoken(HostIndex host, const Packet& packet);
  /// A window update that the comparer made: it may acknowledge only what was acknowledged before.
  void window_updated(HostIndex host, const Packet& packet);
  /// The guest in this state takes over: all that the client was ever told must be in it.
  void promoted(HostIndex host, const GuestState& state);

 private:
  struct Out {
    StreamPart stream;
    std::uint64_t acked = 0;
    bool reset = false;
    bool finished() const { return stream.end() > 0 && stream.at(stream.end() - 1) == StreamPart::kFinMark; }
  };
  struct SvmOutput {
    StreamPart stream;
    std::uint64_t acked = 0;
    bool reset = false;
    bool finished = false;
  };
  struct Run {
    HostIndex maker = 0;
    bool whole = false;
    GuestState state;
    std::map<FlowKey, SvmOutput> flows;
    std::map<Bytes, int> datagrams;  ///< sent by the SVM less released
  };

  bool committed_since(HostIndex host, ImageId image) const;
  void judge(HostIndex host, ImageId image, const Packet& packet);
  void judge_datagram(HostIndex host, Run& run, const Packet& packet);
  void judge_tcp(HostIndex host, const Run& run, const Packet& packet);

  Context& context_;
  ImageId latest_ = 0;
  std::map<ImageId, Run> images_;
  std::map<FlowKey, Out> out_;
};

/// I2, one voice.
class OneVoice {
 public:
  explicit OneVoice(Context& context) : context_(context) {}

  /// The host's gate opens, or a frame leaves by its open gate.
  void speaks(HostIndex host, const failover::Record& record);
  void opened(HostIndex host, const failover::Record& record);
  void shut(HostIndex host) { open_[host] = false; }

 private:
  Context& context_;
  std::array<bool, 2> open_{};
};

/// I3, whole image: a guest continues only in the state in which some guest stood.
class WholeImage {
 public:
  explicit WholeImage(Context& context) : context_(context) {}

  /// The guest on `host` continues in this state; `origin` is the state that it must be.
  void continues(HostIndex host, std::uint64_t state_digest, std::uint64_t origin_digest);
  /// The guest on `host` becomes the VM; `loaded`: it has been given a state at all.
  void takes_over(HostIndex host, bool loaded);

 private:
  Context& context_;
};

struct Checkers {
  explicit Checkers(Context& context) : output(context), voice(context), image(context) {}
  OutputCommit output;
  OneVoice voice;
  WholeImage image;
};

}  // namespace twinstep::sim
