// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/prover.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "io/monotonic.hpp"
#include "io/os_error.hpp"

namespace twinstep::daemon {
namespace {

/// A frame may be lost where a ring is full: the VM's own traffic goes on.
constexpr int kTries = 3;
constexpr Nanos kPatience = 100 * kMillisecond;
constexpr int kPollMs = 1;
constexpr std::size_t kTagBytes = 4;
constexpr std::size_t kSmallBytes = 64;
constexpr std::size_t kProbeBytesMin = sizeof(ethhdr) + sizeof(ts_probe);
constexpr std::size_t kTapFramesMax = 4096;
static_assert(kSmallBytes >= kProbeBytesMin);

std::optional<ts_probe> read_probe(std::span<const std::byte> frame) {
  ethhdr eth{};
  ts_probe probe{};
  if (frame.size() < kProbeBytesMin) return std::nullopt;
  std::memcpy(&eth, frame.data(), sizeof(eth));
  if (eth.h_proto != htons(TS_ETHERTYPE)) return std::nullopt;
  std::memcpy(&probe, frame.data() + sizeof(eth), sizeof(probe));
  return probe;
}

}  // namespace

Result<void> Prover::begin() {
  std::uint64_t nonce = 0;
  if (::getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce)) return io::fail_os("cannot draw a random number");
  port_.set_probe(nonce | 1);
  return {};
}

bool Prover::is_probe(std::span<const std::byte> frame) const {
  const auto probe = read_probe(frame);
  return probe && probe->nonce == port_.slot().probe;
}

void Prover::on_probe(std::span<const std::byte> frame, bool from_link) {
  std::uint8_t type = TS_LINK_PROBE;
  if (from_link) {
    ts_link_header header{};
    std::memcpy(&header, frame.data() + sizeof(ethhdr), sizeof(header));
    type = header.type;
    frame = frame.subspan(TS_LINK_OVERHEAD_BYTES);
  }
  const auto probe = read_probe(frame);
  if (type == TS_LINK_MIRROR && probe->path == TS_PROBE_LINK) return sender_.answer(frame, port_.slot().epoch);
  in_socket_ = probe->sequence;
}

std::vector<std::byte> Prover::make(std::uint32_t path, std::size_t bytes) {
  ethhdr eth{};
  std::ranges::copy(port_.slot().vm_mac, eth.h_dest);
  std::ranges::copy(port_.slot().vm_mac, eth.h_source);
  eth.h_proto = htons(TS_ETHERTYPE);
  const ts_probe probe{
      .nonce = port_.slot().probe, .path = path, .sequence = ++sequence_, .slot = port_.slot_number(), .reserved = 0};
  std::vector<std::byte> frame(bytes);
  std::memcpy(frame.data(), &eth, sizeof(eth));
  std::memcpy(frame.data() + sizeof(eth), &probe, sizeof(probe));
  return frame;
}

/// With two VLAN tags.
std::size_t Prover::frame_bytes_max() const {
  return tap_.mtu() + sizeof(ethhdr) + 2 * kTagBytes;
}

void Prover::read_tap() {
  for (auto& frame : tap_.drain(kTapFramesMax)) {
    if (!is_probe(frame))
      unread_.push_back(std::move(frame));
    else
      in_tap_ = read_probe(frame)->sequence;
  }
}

bool Prover::came(const Way& way, std::uint64_t out_before, const Pump& pump) {
  pump();
  if (way.ends_at_uplink) return port_.counters().count[TS_COUNT_PROBES_OUT] > out_before;
  if (way.ends_in_tap) read_tap();
  return (way.ends_in_tap ? in_tap_ : in_socket_) == sequence_;
}

Result<void> Prover::prove(const Way& way, const Pump& pump) {
  for (int tries = 0; tries < kTries; ++tries) {
    const std::uint64_t out_before = port_.counters().count[TS_COUNT_PROBES_OUT];
    if (auto sent = way.send(make(way.path, way.bytes)); !sent) return fail(way.name + ": " + sent.error().message);
    for (const Nanos until = io::monotonic_ns() + kPatience; io::monotonic_ns() < until;) {
      if (came(way, out_before, pump)) return {};
      ::poll(nullptr, 0, kPollMs);
    }
  }
  return fail("start-up proof: no frame of " + std::to_string(way.bytes) + " bytes passes " + way.name + ": " +
              way.remedy);
}

/// Without a VLAN tag to spare where the kernel allows for one only.
std::vector<Prover::Way> Prover::ways_from_tap() {
  const auto from_guest = [this](std::span<const std::byte> frame) -> Result<void> {
    if (!tap_.send_as_guest(frame)) return io::fail_os("the tap takes no frame");
    return {};
  };
  const auto to_guest = [this](std::span<const std::byte> frame) -> Result<void> {
    port_.send_copy(port_.input(), frame);
    port_.input().flush();
    return {};
  };
  const NicView& nic = port_.view();
  return {
      {.name = "from the tap " + nic.output + " to twinstepd",
       .remedy = "see `bpftool net` for other programs there, and restart twinstepd",
       .path = TS_PROBE_SOCKET,
       .bytes = frame_bytes_max(),
       .send = from_guest},
      {.name = "from the tap " + nic.output + " to the uplink " + nic.uplink,
       .remedy =
           "is " + nic.uplink +
           " up, and does its driver take redirected frames? (a veth does if its peer has `ethtool -K PEER gro on`)",
       .path = TS_PROBE_UPLINK,
       .bytes = frame_bytes_max() - kTagBytes,
       .send = from_guest,
       .ends_at_uplink = true,
       .by_redirect = true},
      {.name = "from twinstepd to the tap " + nic.tap,
       .remedy = "is it up? `ip link set " + nic.tap + " up`",
       .path = TS_PROBE_TAP,
       .bytes = frame_bytes_max(),
       .send = to_guest,
       .ends_in_tap = true},
  };
}

std::vector<Prover::Way> Prover::ways_from_devices() {
  const NicView& nic = port_.view();
  const auto at_uplink = [this](std::span<const std::byte> frame) { return port_.arrive(io::XdpRole::uplink, frame); };
  const auto at_link = [this](std::span<const std::byte> frame) {
    return port_.arrive(io::XdpRole::link, sender_.mirrored(frame));
  };
  const std::size_t bytes =
      std::min(frame_bytes_max(), io::XdpPrograms::kArrivingBytesMax - std::size_t{TS_LINK_OVERHEAD_BYTES});
  struct Arrival {
    std::string from;
    std::function<Result<void>(std::span<const std::byte>)> send;
    bool mirrors = false;
  };
  std::vector<Way> ways;
  for (const auto& [from, send, mirrors] :
       {Arrival{"from the uplink " + nic.uplink, at_uplink, true}, Arrival{"from the link " + nic.link, at_link}}) {
    const Way to_tap{.name = from + " to the tap " + nic.tap,
                     .remedy = "is the tap up, and its MTU " + std::to_string(tap_.mtu() + kTagBytes) +
                               "? If so restart twinstepd, which writes the programs' maps anew",
                     .path = TS_PROBE_TAP,
                     .bytes = bytes,
                     .send = send,
                     .ends_in_tap = true,
                     .by_redirect = true};
    ways.push_back({.name = from + " to twinstepd",
                    .remedy = "see `bpftool net` for other programs there, and restart twinstepd",
                    .path = TS_PROBE_SOCKET,
                    .bytes = bytes,
                    .send = send});
    ways.push_back(to_tap);
    if (!mirrors) continue;
    ways.push_back(to_tap);
    ways.back().name += ", mirrored";
    ways.back().path = TS_PROBE_MIRROR_TAP;
  }
  return ways;
}

Result<void> Prover::prove_host(const Pump& pump) {
  if (auto checked = port_.check_queues(); !checked) return checked;
  read_tap();
  for (const auto& ways : {ways_from_tap(), ways_from_devices()}) {
    for (const auto& way : ways) {
      if (way.by_redirect && port_.fragments()) continue;
      if (auto proven = prove(way, pump); !proven) return proven;
    }
  }
  return {};
}

Result<void> Prover::prove_link(const Pump& pump) {
  const NicView& nic = port_.view();
  const std::string name = "over the link " + nic.link + " and back";
  const Way mirrored{
      .name = name,
      .remedy = "does the link carry EtherType 0x88B5 both ways, to and from these MAC addresses?",
      .path = TS_PROBE_LINK,
      .bytes = kSmallBytes,
      .send = [this](std::span<const std::byte> frame) { return port_.arrive(io::XdpRole::uplink, frame); }};
  if (auto proven = prove(mirrored, pump); !proven) return proven;
  const std::string mtu = std::to_string(frame_bytes_max() + TS_LINK_OVERHEAD_BYTES - sizeof(ethhdr));
  const Way largest{
      .name = name,
      .remedy = "small ones do; give " + nic.link + ", its peer and every switch between them an MTU of " + mtu,
      .path = TS_PROBE_LINK,
      .bytes = frame_bytes_max(),
      .send = [this](std::span<const std::byte> frame) -> Result<void> {
        sender_.mirror(frame, port_.slot().epoch);
        sender_.flush();
        return {};
      }};
  return prove(largest, pump);
}

}  // namespace twinstep::daemon
