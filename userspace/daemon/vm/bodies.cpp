// SPDX-License-Identifier: Apache-2.0
//
// The bulk data that session messages carry: made from, and put into, the pairing.
#include <openssl/rand.h>

#include <cstring>

#include "daemon/vm/vm.hpp"

namespace twinstep::daemon {

std::vector<std::byte> Vm::body_of(const session::Message& message) {
  switch (message.type) {
    case session::MessageType::prepare: {
      pairing_.token = {message.pairing, vm_id_};
      // A fresh key for each pairing: a digest seen once says nothing about the next.
      RAND_bytes(pairing_.digest_seed.data(), static_cast<int>(pairing_.digest_seed.size()));
      wire::PrepareBody body;
      body.vm_name = config_.name;
      body.vm_id = vm_id_;
      body.memory_bytes = config_.memory_bytes;
      body.definition_hash = definition_hash(config_);
      body.digest_seed = pairing_.digest_seed;
      body.link_mac = guest_->link_mac();
      body.machine_type = guest_->machine_type();
      for (std::size_t i = 0; i < config_.nics.size(); ++i) {
        const io::Tap& tap = guest_->tap(i);
        body.nics.push_back({config_.nics[i].mac, tap.mtu(), tap.offloads() == io::GuestOffloads::on});
      }
      return wire::encode(body);
    }
    case session::MessageType::prepared:
      return wire::encode(wire::PreparedBody{guest_->link_mac(), pairing_.listener->port()});
    case session::MessageType::svm_stopped:
      return wire::encode_svm_stopped(pairing_.svm.dirty.pages(), pairing_.svm.dirty.words(),
                                      std::as_bytes(std::span(pairing_.svm.hashes)));
    default:
      return {};
  }
}

Result<void> Vm::take_body(const session::Message& message, std::span<const std::byte> body) {
  switch (message.type) {
    case session::MessageType::prepare: {
      auto prepare = wire::decode_prepare(body);
      if (!prepare) return tl::make_unexpected(prepare.error());
      pairing_.prepare = std::move(*prepare);
      pairing_.token = {message.pairing, vm_id_};
      return {};
    }
    case session::MessageType::prepared: {
      const auto prepared = wire::decode_prepared(body);
      if (!prepared) return tl::make_unexpected(prepared.error());
      pairing_.prepared = *prepared;
      return {};
    }
    case session::MessageType::svm_stopped: {
      const std::size_t pages = config_.memory_bytes / memory::kPageBytes;
      const auto stopped = wire::decode_svm_stopped(pages, body);
      if (!stopped) return tl::make_unexpected(stopped.error());
      auto dirty = memory::PageBitmap::from_words(pages, stopped->words);
      if (!dirty) return tl::make_unexpected(dirty.error());
      pairing_.svm.dirty = std::move(*dirty);
      pairing_.svm.hashes.resize(stopped->hashes.size() / sizeof(memory::PageHash));
      std::memcpy(pairing_.svm.hashes.data(), stopped->hashes.data(), stopped->hashes.size());
      return {};
    }
    default:
      return {};
  }
}

void Vm::note_progress(const session::Message& message) {
  CheckpointEntry* entry = log_.newest(message.epoch);
  if (entry == nullptr) return;
  const Nanos since_pause_ns = io::monotonic_ns() - entry->paused_at_ns;
  if (message.type == session::MessageType::committed) entry->commit_ns = since_pause_ns;
  if (message.type != session::MessageType::svm_running) return;
  entry->apply_ns = since_pause_ns - entry->commit_ns;
  if (entry->verified) ++checkpoints_verified_;
}

}  // namespace twinstep::daemon
