// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/planes.hpp"

#include <utility>

namespace twinstep::daemon {

Result<std::unique_ptr<Planes>> Planes::create(const std::vector<Nic>& nics, Fabric& fabric,
                                               const OnNicDiverged& on_diverged) {
  std::unique_ptr<Planes> self(new Planes);
  for (std::size_t i = 0; i < nics.size(); ++i) {
    auto plane = Plane::create(
        nics[i].config, fabric, nics[i].tap,
        [on_diverged, i](std::uint32_t epoch, const compare::Diverged& diverged) { on_diverged(i, epoch, diverged); });
    if (!plane) return tl::unexpected(plane.error());
    self->planes_.push_back(std::move(*plane));
  }
  return self;
}

Result<void> Planes::pair(const compare::DigestKey& key, std::uint16_t vm_id, io::MacAddress link_peer_mac) {
  for (const auto& plane : planes_)
    if (auto paired = plane->pair(key, vm_id, link_peer_mac); !paired) return paired;
  return {};
}

Result<void> Planes::prove_host() {
  for (const auto& plane : planes_)
    if (auto proven = plane->prove_host(); !proven) return proven;
  return {};
}

Result<void> Planes::prove_link() {
  for (const auto& plane : planes_)
    if (auto proven = plane->prove_link(); !proven) return proven;
  return {};
}

void Planes::direct() {
  for (const auto& plane : planes_) plane->direct();
}

Result<void> Planes::standby() {
  for (const auto& plane : planes_)
    if (auto ready = plane->standby(); !ready) return ready;
  return {};
}

void Planes::shut_input() {
  for (const auto& plane : planes_) plane->shut_input();
}

std::vector<EpochFlows> Planes::begin_epoch(std::uint32_t epoch, bool svm_rests) {
  std::vector<EpochFlows> flows;
  for (const auto& plane : planes_) flows.push_back(plane->begin_epoch(epoch, svm_rests));
  return flows;
}

void Planes::resume_input() {
  for (const auto& plane : planes_) plane->resume_input();
}

void Planes::commit(std::uint32_t epoch) {
  for (const auto& plane : planes_) plane->commit(epoch);
}

void Planes::svm_running(std::uint32_t epoch) {
  for (const auto& plane : planes_) plane->svm_running(epoch);
}

void Planes::set_hold(Nanos hold_ns) {
  for (const auto& plane : planes_) plane->set_hold(hold_ns);
}

void Planes::release_all_and_direct() {
  for (const auto& plane : planes_) plane->release_all_and_direct();
}

void Planes::discard_and_close() {
  for (const auto& plane : planes_) plane->discard_and_close();
}

void Planes::occupy_reader() {
  for (const auto& plane : planes_) plane->occupy_reader();
}

Result<void> Planes::standby_stop(std::uint32_t next_epoch) {
  for (const auto& plane : planes_) {
    if (auto stopped = plane->standby_stop(next_epoch); !stopped) {
      standby_return();
      return stopped;
    }
  }
  return {};
}

void Planes::standby_return() {
  for (const auto& plane : planes_) plane->standby_return();
}

void Planes::standby_begin(std::uint32_t epoch, const std::vector<EpochFlows>& flows) {
  for (std::size_t i = 0; i < planes_.size(); ++i) planes_[i]->standby_begin(epoch, flows.at(i));
}

FailoverStats Planes::take_over() {
  FailoverStats sum;
  for (const auto& plane : planes_) {
    const auto stats = plane->take_over();
    sum.flows += stats.flows;
    sum.flows_rewritten += stats.flows_rewritten;
    sum.flows_renumbered += stats.flows_renumbered;
    sum.frames_replayed += stats.frames_replayed;
  }
  return sum;
}

}  // namespace twinstep::daemon
