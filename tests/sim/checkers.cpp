// SPDX-License-Identifier: Apache-2.0
#include "checkers.hpp"

#include <arpa/inet.h>

#include <algorithm>

namespace twinstep::sim {
StreamPart::Value StreamPart::value_of(const Packet& packet, std::uint64_t offset) {
  if (packet.has(compare::kSyn)) return kSynMark;
  if (offset == packet.payload.size()) return kFinMark;
  return std::to_integer<Value>(packet.payload[offset]);
}

StreamPart::Value StreamPart::at(std::uint64_t position) const {
  return position < start_ || position >= end() ? kNothing : values_[position - start_];
}

void StreamPart::set(std::uint64_t position, Value value) {
  if (values_.empty()) start_ = position;
  if (position < start_) {
    values_.insert(values_.begin(), start_ - position, kNothing);
    start_ = position;
  }
  if (position >= end()) values_.resize(position - start_ + 1, kNothing);
  values_[position - start_] = value;
}

ImageId OutputCommit::image_made(HostIndex host, const GuestState& state) {
  Run& run = images_[++latest_];
  run.maker = host;
  run.state = state;
  return latest_;
}

void OutputCommit::svm_sent(ImageId image, const Packet& packet) {
  const auto found = images_.find(image);
  if (found == images_.end()) return;
  if (packet.kind == Packet::Kind::udp) {
    ++found->second.datagrams[packet.payload];
    return;
  }
  SvmOutput& output = found->second.flows[packet.flow];
  for (std::uint64_t offset = 0; offset < packet.length(); ++offset)
    output.stream.set(packet.position + offset, StreamPart::value_of(packet, offset));
  output.acked = std::max(output.acked, packet.ack_position);
  output.reset = output.reset || packet.has(compare::kRst);
  output.finished = output.finished || packet.has(compare::kFin);
}

bool OutputCommit::committed_since(HostIndex host, ImageId image) const {
  return std::any_of(images_.upper_bound(image), images_.end(),
                     [host](const auto& entry) { return entry.second.maker == host && entry.second.whole; });
}

void OutputCommit::released(HostIndex host, ImageId image, const Packet& packet, const failover::Record& record) {
  const bool solo = record.primary == host_name(host) && record.secondary.empty();
  if (!solo && !committed_since(host, image)) judge(host, image, packet);
  spoken(host, packet);
}

void OutputCommit::judge(HostIndex host, ImageId image, const Packet& packet) {
  Run& run = images_.at(image);
  if (packet.kind == Packet::Kind::udp) {
    judge_datagram(host, run, packet);
  } else {
    judge_tcp(host, run, packet);
  }
}

void OutputCommit::judge_datagram(HostIndex host, Run& run, const Packet& packet) {
  if (run.datagrams[packet.payload]-- > 0) return;
  context_.violate("I1", host_name(host) + " released a datagram that the SVM has not sent");
}

void OutputCommit::judge_tcp(HostIndex host, const Run& run, const Packet& packet) {
  static const SvmOutput kSilent;
  const auto svm_found = run.flows.find(packet.flow);
  const SvmOutput& svm = svm_found == run.flows.end() ? kSilent : svm_found->second;
  const auto out_found = out_.find(packet.flow);
  const Connection* start = run.whole ? run.state.find(packet.flow) : nullptr;
  for (std::uint64_t offset = 0; offset < packet.length(); ++offset) {
    const std::uint64_t position = packet.position + offset;
    const StreamPart::Value value = StreamPart::value_of(packet, offset);
    const bool out_before = out_found != out_.end() && out_found->second.stream.at(position) == value;
    const bool in_image = start != nullptr && position < start->sent;
    if (out_before || in_image || svm.stream.at(position) == value) continue;
    context_.violate("I1", host_name(host) + " released bytes that the SVM has not sent: " + describe(packet) +
                               ", at " + std::to_string(position));
    return;
  }
  if (packet.has(compare::kRst)) {
    // Once the end of the stream is out, both guests may forget the connection, each at its own time (rule 5).
    const bool over = svm.reset || svm.finished || (out_found != out_.end() && out_found->second.finished());
    if (!over)
      context_.violate("I1", host_name(host) + " released a reset that the SVM has not sent: " + describe(packet));
    return;
  }
  const std::uint64_t told = out_found != out_.end() ? out_found->second.acked : 0;
  const std::uint64_t in_image = start != nullptr ? start->received : 0;
  if (packet.ack_position <= std::max({told, in_image, svm.acked}) || svm.reset) return;
  context_.violate("I1", host_name(host) + " released an acknowledgement that the SVM has not given: " +
                             describe(packet) + ", the SVM's is " + std::to_string(svm.acked));
}

void OutputCommit::spoken(HostIndex host, const Packet& packet) {
  if (packet.kind == Packet::Kind::udp) return;
  Out& out = out_[packet.flow];
  out.acked = std::max(out.acked, packet.ack_position);
  out.reset = out.reset || packet.has(compare::kRst);
  for (std::uint64_t offset = 0; offset < packet.length(); ++offset) {
    const StreamPart::Value value = StreamPart::value_of(packet, offset);
    const StreamPart::Value before = out.stream.at(packet.position + offset);
    if (before != StreamPart::kNothing && before != value) {
      context_.violate("I1", host_name(host) + " contradicts what has left before: " + describe(packet) + ", at " +
                                 std::to_string(packet.position + offset));
      return;
    }
    out.stream.set(packet.position + offset, value);
  }
}

void OutputCommit::window_updated(HostIndex host, const Packet& packet) {
  if (packet.ack_position <= out_[packet.flow].acked) return;
  context_.violate("I1", host_name(host) + " made an acknowledgement up: " + describe(packet));
}

void OutputCommit::promoted(HostIndex host, const GuestState& state) {
  for (const auto& [flow, out] : out_) {
    const Connection* connection = state.find(flow);
    const std::string flow_name = std::to_string(ntohs(flow.peer_port_be));
    if (connection == nullptr) {
      if (!out.reset && !out.finished() && out.stream.end() > 0)
        context_.violate("I1", host_name(host) + " took over without knowing flow " + flow_name);
      continue;
    }
    if (connection->received < out.acked)
      context_.violate("I1", host_name(host) + " took over without input that was acknowledged on flow " + flow_name +
                                 ": has " + std::to_string(connection->received) + " of " + std::to_string(out.acked));
    if (connection->sent < out.stream.end())
      context_.violate("I1", host_name(host) + " took over behind the output that left on flow " + flow_name +
                                 ": sent " + std::to_string(connection->sent) + " of " +
                                 std::to_string(out.stream.end()));
  }
}

void OneVoice::speaks(HostIndex host, const failover::Record& record) {
  if (record.primary == host_name(host) && record.secondary.empty()) return;
  context_.violate("I2", host_name(host) + " speaks, but the record names primary '" + record.primary +
                             "', secondary '" + record.secondary + "'");
}

void OneVoice::opened(HostIndex host, const failover::Record& record) {
  speaks(host, record);
  if (open_[peer_of(host)]) context_.violate("I2", "both gates are open");
  open_[host] = true;
}

void WholeImage::continues(HostIndex host, std::uint64_t state_digest, std::uint64_t origin_digest) {
  if (state_digest != origin_digest)
    context_.violate("I3", "the guest on " + host_name(host) + " continues in a state that never was");
}

void WholeImage::takes_over(HostIndex host, bool loaded) {
  if (!loaded) context_.violate("I3", "the guest on " + host_name(host) + " takes over without a state");
}

}  // namespace twinstep::sim
