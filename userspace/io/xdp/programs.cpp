// SPDX-License-Identifier: Apache-2.0
#include "io/xdp/programs.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <twinstep_bpf.skel.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "bpf/abi/twinstep_match.h"
#include "io/os_error.hpp"
#include "io/unique_fd.hpp"
#include "io/xdp/device_programs.hpp"

namespace twinstep::io {
namespace {

struct SkeletonDeleter {
  void operator()(twinstep_bpf* skeleton) const { twinstep_bpf::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<twinstep_bpf, SkeletonDeleter>;

/// libbpf's own words go to stderr by default; the result of a call says what the user must know.
int no_print(libbpf_print_level, const char*, va_list) {
  return 0;
}

template <typename Key, typename Value>
Result<void> put(const bpf_map* map, const Key& key, const Value& value) {
  if (bpf_map__update_elem(map, &key, sizeof(key), &value, sizeof(value), BPF_ANY) != 0)
    return fail_os(std::string("cannot write the BPF map ") + bpf_map__name(map));
  return {};
}

template <typename Value, typename Key>
std::optional<Value> get(const bpf_map* map, const Key& key) {
  Value value{};
  if (bpf_map__lookup_elem(map, &key, sizeof(key), &value, sizeof(value), 0) != 0) return std::nullopt;
  return value;
}

/// An entry that isn't there is no error.
template <typename Key>
void drop(const bpf_map* map, const Key& key) {
  bpf_map__delete_elem(map, &key, sizeof(key), 0);
}

/// Keys of one slot in a map by flow. What others add or remove meanwhile may make the walk begin anew: it is bounded,
/// and names a key once.
std::vector<ts_flow_key> keys_of_slot(const bpf_map* map, std::uint32_t slot) {
  std::vector<ts_flow_key> keys;
  ts_flow_key key{};
  const ts_flow_key* last = nullptr;
  for (std::uint32_t i = bpf_map__max_entries(map); i > 0; --i) {
    if (bpf_map__get_next_key(map, last, &key, sizeof(key)) != 0) break;
    if (key.slot == slot) keys.push_back(key);
    last = &key;
  }
  const auto less = [](const ts_flow_key& a, const ts_flow_key& b) { return std::memcmp(&a, &b, sizeof(a)) < 0; };
  const auto same = [](const ts_flow_key& a, const ts_flow_key& b) { return std::memcmp(&a, &b, sizeof(a)) == 0; };
  std::ranges::sort(keys, less);
  keys.erase(std::unique(keys.begin(), keys.end(), same), keys.end());
  return keys;
}

/// All of them: one that takes fragments and one that doesn't can't use the same map of devices.
void take_fragments(twinstep_bpf& skeleton) {
  skeleton.rodata->ts_fragments = 1;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton.obj) bpf_program__set_flags(program, BPF_F_XDP_HAS_FRAGS);
}

bpf_devmap_val device_entry(int ifindex, int program_fd) {
  bpf_devmap_val entry{};
  entry.ifindex = static_cast<std::uint32_t>(ifindex);
  entry.bpf_prog.fd = program_fd;
  return entry;
}

constexpr int kNoProgram = -1;

/// The names in bpf/ of what joins libxdp's dispatcher.
constexpr const char* kJoinsUplink = "ts_uplink_join";
constexpr const char* kJoinsLink = "ts_link_join";

/// The programs once more, opened only, with the same maps.
Result<Skeleton> open_again(const twinstep_bpf& loaded, const std::string& program) {
  Skeleton again(twinstep_bpf::open());
  if (!again) return fail_os("cannot open the XDP programs");
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, again->obj) bpf_program__set_autoload(each, program == bpf_program__name(each));
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, again->obj) {
    const bpf_map* shared = bpf_object__find_map_by_name(loaded.obj, bpf_map__name(map));
    if (shared == nullptr || bpf_map__reuse_fd(map, bpf_map__fd(shared)) != 0)
      return fail_os(std::string("cannot share the BPF map ") + bpf_map__name(map));
  }
  return again;
}

/// The one that a device runs natively: it may be a dispatcher, which changes whenever a program joins or leaves.
UniqueFd native_program(int ifindex) {
  std::uint32_t id = 0;
  return UniqueFd(bpf_xdp_query_id(ifindex, XDP_FLAGS_DRV_MODE, &id) == 0 ? bpf_prog_get_fd_by_id(id) : -1);
}

/// What may be done about a program that isn't in a dispatcher.
std::string remedy(const std::string& device) {
  const std::string unload =
      "run: xdp-loader unload " + device + " --all (or: bpftool net detach xdp dev " + device + ")";
  if (kernel_can_dispatch())
    return "one that runs beside others must come by libxdp's dispatcher; " + unload +
           ", and load it by xdp-loader before twinstepd starts";
  return "none can run beside it, as this kernel lacks what libxdp's dispatcher is made of (BPF_PROG_TYPE_EXT); " +
         unload;
}

}  // namespace

struct XdpPrograms::Impl {
  Skeleton skeleton;
  std::unique_ptr<MatchTable> matches;
  std::optional<FlowTables> flows;
  std::unique_ptr<Lanes> lanes;

  const bpf_program* program(XdpRole role) const {
    switch (role) {
      case XdpRole::tap:
        return skeleton->progs.ts_tap;
      case XdpRole::uplink:
        return skeleton->progs.ts_uplink;
      default:
        return skeleton->progs.ts_link;
    }
  }

  bool owns(std::uint32_t id) const {
    return std::ranges::any_of(std::array{XdpRole::tap, XdpRole::uplink, XdpRole::link}, [&](XdpRole role) {
      bpf_prog_info info{};
      std::uint32_t size = sizeof info;
      return bpf_obj_get_info_by_fd(bpf_program__fd(program(role)), &info, &size) == 0 && info.id == id;
    });
  }

  /// allowed: the programs there run in a mode in which Twinstep's may run on the device.
  Result<XdpAttachment> join(XdpRole role, const std::string& device, int ifindex, bool allowed) const {
    const std::string there = "libxdp's dispatcher is on the " + std::string(to_string(role)) + " " + device;
    if (!allowed)
      return fail(
          there +
          " natively, and Twinstep's program must run generically there; load yours by: xdp-loader load -m skb");
    if (skeleton->rodata->ts_fragments != 0)
      return fail(there +
                  ", and behind it Twinstep carries no frames larger than a page; set the uplinks' MTUs no higher than "
                  "3400 and restart twinstepd");
    const char* name = role == XdpRole::uplink ? kJoinsUplink : kJoinsLink;
    const auto again = open_again(*skeleton, name);
    if (!again) return tl::unexpected(again.error());
    auto joined = DispatchedProgram::join((*again)->obj, name, device, ifindex);
    if (!joined) return tl::unexpected(joined.error());
    const XdpMode mode = (*joined)->mode();
    return XdpAttachment{.link = {}, .dispatched = std::move(*joined), .mode = mode};
  }

  const bpf_map* sockets(XdpRole role) const {
    switch (role) {
      case XdpRole::tap:
        return skeleton->maps.ts_xsk_tap;
      case XdpRole::uplink:
        return skeleton->maps.ts_xsk_uplink;
      default:
        return skeleton->maps.ts_xsk_link;
    }
  }

  /// Without a table to append by, which a weakened key lacks, too, the programs compare nothing.
  Result<void> set_match_secret(std::uint32_t slot, const compare::DigestKey& key, bool compares) const {
    auto secret = std::make_unique<ts_match_secret>();
    secret->flow_id = key.flow_ids();
    const auto append = key.append_key();
    if (compares && append) secret->append = *append;
    return put(skeleton->maps.ts_match_secrets, slot, *secret);
  }

  /// A broadcast goes to all entries of one map, so the slot gets one with its tap and the link.
  /// Whose uplink copies nothing leaves no room for the encapsulation behind the redirect; it is done before.
  Result<void> set_mirror(std::uint32_t slot, const SlotDevices& to) const {
    const UniqueFd devices(
        bpf_map_create(BPF_MAP_TYPE_DEVMAP, "ts_mirror", sizeof(std::uint32_t), sizeof(bpf_devmap_val), 2, nullptr));
    if (!devices) return fail_os("cannot create the map of mirror devices");
    const auto& programs = skeleton->progs;
    const int to_tap = to.uplink_zero_copy ? bpf_program__fd(programs.ts_tap_ingress) : kNoProgram;
    const int to_link = to.uplink_zero_copy ? kNoProgram : bpf_program__fd(programs.ts_link_egress);
    const std::array entries{device_entry(to.tap_ifindex, to_tap), device_entry(to.link_ifindex, to_link)};
    for (std::uint32_t i = 0; i < entries.size(); ++i)
      if (bpf_map_update_elem(devices.get(), &i, &entries[i], BPF_ANY) != 0)
        return fail_os("cannot mirror frames to the link");
    return put(skeleton->maps.ts_mirrors, slot, devices.get());
  }
};

const char* to_string(XdpRole role) {
  switch (role) {
    case XdpRole::tap:
      return "tap";
    case XdpRole::uplink:
      return "uplink";
    default:
      return "link";
  }
}

XdpPrograms::XdpPrograms(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
XdpPrograms::~XdpPrograms() = default;
XdpPrograms::XdpPrograms(XdpPrograms&&) noexcept = default;
XdpPrograms& XdpPrograms::operator=(XdpPrograms&&) noexcept = default;

Result<XdpPrograms> XdpPrograms::load(bool fragments) {
  libbpf_set_print(no_print);
  auto impl = std::make_unique<Impl>();
  impl->skeleton.reset(twinstep_bpf::open());
  if (!impl->skeleton) return fail_os("cannot open the XDP programs");
  if (fragments) take_fragments(*impl->skeleton);
  if (twinstep_bpf::load(impl->skeleton.get()) != 0)
    return fail_os("cannot load the XDP programs (needs root and Linux 5.18 or newer)");
  const auto& maps = impl->skeleton->maps;
  auto matches = MatchTable::open(bpf_map__fd(maps.ts_match_index), bpf_map__fd(maps.ts_match_flows));
  if (!matches) return tl::unexpected(matches.error());
  impl->matches = std::move(*matches);
  impl->flows.emplace(bpf_map__fd(maps.ts_flows), bpf_map__fd(maps.ts_half_open));
  auto lanes = Lanes::open(bpf_map__fd(maps.ts_lanes));
  if (!lanes) return tl::unexpected(lanes.error());
  impl->lanes = std::move(*lanes);
  return XdpPrograms(std::move(impl));
}

Result<XdpAttachment> XdpPrograms::attach(XdpRole role, const std::string& device, bool native) {
  const auto ifindex = device_index(device);
  if (!ifindex) return tl::unexpected(ifindex.error());
  if (const auto mode = role == XdpRole::tap ? std::nullopt : dispatcher_mode(*ifindex))
    return impl_->join(role, device, *ifindex, native || *mode == XdpMode::generic);
  const int program_fd = bpf_program__fd(impl_->program(role));
  for (const auto mode : {XdpMode::native, XdpMode::generic}) {
    if (mode == XdpMode::native && !native) continue;
    LIBBPF_OPTS(bpf_link_create_opts, options);
    options.flags = mode == XdpMode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    UniqueFd link(bpf_link_create(program_fd, *ifindex, BPF_XDP, &options));
    if (link) return XdpAttachment{.link = std::move(link), .dispatched = nullptr, .mode = mode};
  }
  const int error = errno;
  const std::string what = std::string("cannot attach an XDP program to the ") + to_string(role) + " " + device;
  if (const auto others = other_programs(*ifindex); !others.empty())
    return fail(what + ": the XDP program " + others.front() + " is there, and " + remedy(device));
  errno = error;
  return fail_os(what);
}

Result<void> XdpPrograms::remove_leftovers(const std::string& device) {
  return leave_dispatcher(kJoinsUplink, device).and_then([&] { return leave_dispatcher(kJoinsLink, device); });
}

std::vector<std::string> XdpPrograms::other_programs(int ifindex) const {
  std::vector<std::string> others;
  for (const auto& each : device_programs(ifindex))
    if (!impl_->owns(each.id) && each.name != kJoinsUplink && each.name != kJoinsLink)
      others.push_back(to_string(each));
  return others;
}

Result<void> XdpPrograms::arrive(XdpRole role, XdpMode mode, int ifindex, std::span<const std::byte> frame) const {
  const auto program = mode == XdpMode::native ? native_program(ifindex)
                                               : UniqueFd(::dup(bpf_program__fd(impl_->skeleton->progs.ts_arrive)));
  xdp_md context{};
  context.data_end = static_cast<std::uint32_t>(frame.size());
  context.ingress_ifindex = static_cast<std::uint32_t>(ifindex);
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = context.data_end;
  options.ctx_in = &context;
  options.ctx_size_in = sizeof(context);
  options.repeat = 1;
  options.batch_size = 1;
  options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
  if (bpf_prog_test_run_opts(program.get(), &options) != 0)
    return fail_os(std::string("cannot make a frame arrive at the ") + to_string(role));
  return {};
}

Result<void> XdpPrograms::set_digest_key(std::uint32_t slot, const compare::DigestKey& key, bool compares) {
  if (auto done = put(impl_->skeleton->maps.ts_digest_keys, slot, key.table()); !done) return done;
  return impl_->set_match_secret(slot, key, compares);
}

MatchTable& XdpPrograms::matches() {
  return *impl_->matches;
}

FlowTables& XdpPrograms::flows() {
  return *impl_->flows;
}

const FlowTables& XdpPrograms::flows() const {
  return *impl_->flows;
}

Lanes& XdpPrograms::lanes() {
  return *impl_->lanes;
}

Result<void> XdpPrograms::set_devices(std::uint32_t slot, const SlotDevices& devices) {
  const auto& maps = impl_->skeleton->maps;
  ts_mac mac{};
  std::copy(devices.vm_mac.begin(), devices.vm_mac.end(), mac.bytes);
  return put(maps.ts_taps, slot, device_entry(devices.tap_ifindex, kNoProgram))
      .and_then([&] {
        return put(maps.ts_uplinks, slot,
                   device_entry(devices.uplink_ifindex, bpf_program__fd(impl_->skeleton->progs.ts_uplink_egress)));
      })
      .and_then([&] { return impl_->set_mirror(slot, devices); })
      .and_then([&] { return put(maps.ts_ifindex_slot, devices.output_ifindex, slot); })
      .and_then([&] { return put(maps.ts_mac_slot, mac, slot); });
}

Result<void> XdpPrograms::set_socket(XdpRole role, std::uint32_t slot, std::uint32_t queue, int socket_fd) {
  return put(impl_->sockets(role), slot * TS_QUEUES_MAX + queue, socket_fd);
}

void XdpPrograms::remove_sockets(XdpRole role, std::uint32_t slot) {
  for (std::uint32_t queue = 0; queue < TS_QUEUES_MAX; ++queue)
    drop(impl_->sockets(role), slot * TS_QUEUES_MAX + queue);
}

Result<void> XdpPrograms::add_target(const ts_link_target& target, std::uint32_t slot) {
  return put(impl_->skeleton->maps.ts_vm_slot, target, slot);
}

void XdpPrograms::remove_target(const ts_link_target& target) {
  drop(impl_->skeleton->maps.ts_vm_slot, target);
}

void XdpPrograms::clear_slot(std::uint32_t slot, const SlotDevices& devices) {
  const auto& maps = impl_->skeleton->maps;
  ts_mac mac{};
  std::copy(devices.vm_mac.begin(), devices.vm_mac.end(), mac.bytes);
  drop(maps.ts_mac_slot, mac);
  drop(maps.ts_ifindex_slot, devices.output_ifindex);
  [[maybe_unused]] const auto closed = put(maps.ts_slots, slot, ts_slot_config{});
  for (const auto role : {XdpRole::tap, XdpRole::uplink, XdpRole::link}) remove_sockets(role, slot);
  for (const auto* map : {maps.ts_taps, maps.ts_uplinks, maps.ts_mirrors}) drop(map, slot);
  impl_->flows->close(slot);
  for (const auto& key : keys_of_slot(maps.ts_translations, slot)) drop(maps.ts_translations, key);
}

Result<void> XdpPrograms::set_slot(std::uint32_t slot, const ts_slot_config& config) {
  return put(impl_->skeleton->maps.ts_slots, slot, config);
}

std::optional<ts_translation> XdpPrograms::translation(const ts_flow_key& key) const {
  return get<ts_translation>(impl_->skeleton->maps.ts_translations, key);
}

Result<void> XdpPrograms::set_translation(const ts_flow_key& key, const ts_translation& translation) {
  return put(impl_->skeleton->maps.ts_translations, key, translation);
}

void XdpPrograms::remove_translation(const ts_flow_key& key) {
  bpf_map__delete_elem(impl_->skeleton->maps.ts_translations, &key, sizeof(key), 0);
}

std::vector<std::pair<ts_flow_key, ts_translation>> XdpPrograms::translations(std::uint32_t slot) const {
  const bpf_map* map = impl_->skeleton->maps.ts_translations;
  std::vector<std::pair<ts_flow_key, ts_translation>> all;
  for (const auto& key : keys_of_slot(map, slot))
    if (const auto value = get<ts_translation>(map, key)) all.emplace_back(key, *value);
  return all;
}

ts_counters XdpPrograms::counters(std::uint32_t slot) const {
  const int processors = libbpf_num_possible_cpus();
  std::vector<ts_counters> each(static_cast<std::size_t>(std::max(processors, 1)));
  ts_counters sum{};
  if (bpf_map__lookup_elem(impl_->skeleton->maps.ts_count, &slot, sizeof(slot), each.data(),
                           each.size() * sizeof(ts_counters), 0) != 0)
    return sum;
  for (const auto& one : each)
    for (std::size_t i = 0; i < TS_COUNTERS; ++i) sum.count[i] += one.count[i];
  return sum;
}

}  // namespace twinstep::io
