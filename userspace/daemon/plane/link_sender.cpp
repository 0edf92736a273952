// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/link_sender.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>

#include <algorithm>
#include <cstring>

namespace twinstep::daemon {

void LinkSender::wrap(ts_link_type type, std::uint32_t epoch, std::uint16_t count, std::span<const std::byte> body) {
  const auto& slot = port_.slot();
  ethhdr outer{};
  std::ranges::copy(slot.link_peer_mac, outer.h_dest);
  std::ranges::copy(slot.link_mac, outer.h_source);
  outer.h_proto = htons(TS_ETHERTYPE);
  const ts_link_header header{.abi_version = TS_ABI_VERSION,
                              .type = static_cast<std::uint8_t>(type),
                              .vm_id = slot.vm_id,
                              .epoch = epoch,
                              .sequence = sequences_.at(type),
                              .count = count,
                              .nic = slot.nic};
  frame_.resize(sizeof(outer) + sizeof(header) + body.size());
  std::memcpy(frame_.data(), &outer, sizeof(outer));
  std::memcpy(frame_.data() + sizeof(outer), &header, sizeof(header));
  std::ranges::copy(body, frame_.begin() + sizeof(outer) + sizeof(header));
}

void LinkSender::send(ts_link_type type, std::uint32_t epoch, std::uint16_t count, std::span<const std::byte> body) {
  wrap(type, epoch, count, body);
  ++sequences_.at(type);
  port_.send_copy(port_.link(), frame_);
}

std::span<const std::byte> LinkSender::mirrored(std::span<const std::byte> frame) {
  wrap(TS_LINK_MIRROR, 0, 1, frame);
  return frame_;
}

void LinkSender::answer(std::span<const std::byte> probe, std::uint32_t epoch) {
  send(TS_LINK_PROBE, epoch, 1, probe);
  port_.link().flush();
}

void LinkSender::record(const ts_record& record, std::uint32_t epoch) {
  if (epoch != records_epoch_) send_records();
  records_epoch_ = epoch;
  records_.push_back(record);
  const std::size_t fitting = (port_.link_frame_bytes_max() - TS_LINK_OVERHEAD_BYTES) / sizeof(ts_record);
  if (records_.size() >= fitting) send_records();
}

void LinkSender::send_records() {
  if (records_.empty()) return;
  records_sent_ += records_.size();
  send(TS_LINK_RECORDS, records_epoch_, static_cast<std::uint16_t>(records_.size()),
       std::as_bytes(std::span(records_)));
  records_.clear();
}

void LinkSender::mirror(std::span<const std::byte> frame, std::uint32_t epoch) {
  send(TS_LINK_MIRROR, epoch, 1, frame);
}

void LinkSender::delta(const compare::SetDelta& delta, std::uint32_t epoch) {
  const ts_flow_delta body{.key = port_.key_of(delta.flow),
                           .seq_delta = delta.seq_delta,
                           .ts_delta = delta.ts_delta,
                           .svm_isn = delta.svm_isn,
                           .reserved = 0};
  send(TS_LINK_FLOW_DELTA, epoch, 1, std::as_bytes(std::span(&body, 1)));
  port_.link().flush();
}

void LinkSender::flush() {
  send_records();
  port_.link().flush();
}

}  // namespace twinstep::daemon
