// SPDX-License-Identifier: Apache-2.0
#include "link.hpp"

#include <algorithm>
#include <utility>

namespace twinstep::sim {
namespace {

constexpr Nanos kDelayMin = 20 * kMicrosecond;
constexpr Nanos kPatienceMin = 200 * kMillisecond;
constexpr Nanos kPatienceMax = 1500 * kMillisecond;
constexpr Nanos kResetMax = 5 * kMillisecond;
constexpr Nanos kConnectMax = 50 * kMillisecond;

}  // namespace

void Link::host_up(HostIndex host) {
  up_[host] = true;
  if (open_[peer_of(host)]) lose_patience(peer_of(host), kResetMax, false);
  connect_soon();
}

void Link::host_down(HostIndex host, bool silent) {
  up_[host] = open_[host] = false;
  lose_patience(
      peer_of(host),
      silent ? context_.random.between(kPatienceMin, kPatienceMax) : context_.random.between(kDelayMin, kResetMax),
      false);
}

void Link::cut() {
  cut_ = true;
  for (const HostIndex host : {kHostA, kHostB})
    lose_patience(host, context_.random.between(kPatienceMin, kPatienceMax), true);
}

void Link::heal() {
  cut_ = false;
  for (const HostIndex host : {kHostA, kHostB}) {
    for (auto waiting = std::exchange(waiting_[host], {}); const Delivery& delivery : waiting)
      deliver(connection_, host, delivery);
    if (open_[host] && !open_[peer_of(host)]) lose_patience(host, kResetMax, false);
  }
  connect_soon();
}

void Link::send(HostIndex from, const session::Message& message) {
  post(from, [message](LinkEnd& end) { end.link_message(message); });
}

void Link::send_page(HostIndex from, const PagePart& part) {
  post(from, [part](LinkEnd& end) { end.link_page(part); });
}

void Link::end_stream(HostIndex from) {
  post(from, [](LinkEnd& end) { end.link_stream_ended(); });
}

void Link::send_raw(HostIndex from, const RawFrame& frame) {
  if (cut_ || context_.random.chance(context_.profile.link_loss)) return;
  const Nanos arrival = context_.now() + context_.random.between(kDelayMin, context_.profile.link_delay_max);
  raw_arrival_[from] = std::max(raw_arrival_[from], arrival);
  context_.scheduler.at(raw_arrival_[from], [this, to = peer_of(from), frame] {
    if (!cut_ && up_[to]) ends_[to]->link_frame(frame);
  });
}

void Link::post(HostIndex from, Delivery delivery) {
  if (!open_[from]) return;
  const Nanos arrival = context_.now() + context_.random.between(kDelayMin, context_.profile.link_delay_max);
  arrival_[from] = std::max(arrival_[from], arrival);
  context_.scheduler.at(arrival_[from], [this, connection = connection_, to = peer_of(from),
                                         delivery = std::move(delivery)] { deliver(connection, to, delivery); });
}

void Link::deliver(std::uint64_t connection, HostIndex to, const Delivery& delivery) {
  if (connection != connection_ || !open_[to]) return;
  if (cut_) {
    waiting_[to].push_back(delivery);
  } else {
    delivery(*ends_[to]);
  }
}

void Link::lose_patience(HostIndex host, Nanos delay, bool only_if_cut) {
  context_.scheduler.after(delay, [this, host, connection = connection_, only_if_cut] {
    if (connection != connection_ || (only_if_cut && !cut_)) return;
    close_end(host, cut_ ? "no answer" : "reset by the peer");
  });
}

void Link::close_end(HostIndex host, const std::string& reason) {
  if (!open_[host]) return;
  open_[host] = false;
  waiting_[host].clear();
  ends_[host]->link_disconnected(reason);
  if (open_[peer_of(host)] && !cut_) lose_patience(peer_of(host), kResetMax, false);
  connect_soon();
}

void Link::connect_soon() {
  context_.scheduler.after(context_.random.between(kMillisecond, kConnectMax), [this] {
    if (cut_ || !up_[kHostA] || !up_[kHostB] || open_[kHostA] || open_[kHostB]) return;
    ++connection_;
    open_ = {true, true};
    for (const HostIndex host : {kHostA, kHostB}) ends_[host]->link_connected();
  });
}

}  // namespace twinstep::sim
