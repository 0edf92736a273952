// SPDX-License-Identifier: Apache-2.0
#include "io/netlink/offloads.hpp"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "io/os_error.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {
namespace {

constexpr std::size_t kBlockBits = 32;
/// What must be off, whatever the rest: the frame would go out unfinished.
constexpr std::array<std::string_view, 4> kMustBeOff{"tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6",
                                                     "tx-tcp-segmentation"};
/// What takes tags out of received frames.
constexpr std::array<std::string_view, 2> kStripsTags{"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"};

/// ethtool's commands end in an array whose size the device tells, so each lies in a buffer of its own.
template <typename Command>
class Buffer {
 public:
  Buffer(std::uint32_t command, std::size_t tail_bytes) : bytes_(sizeof(Command) + tail_bytes) {
    std::memcpy(bytes_.data(), &command, sizeof(command));
  }
  Command* get() { return reinterpret_cast<Command*>(bytes_.data()); }
  const Command* get() const { return reinterpret_cast<const Command*>(bytes_.data()); }

 private:
  std::vector<std::byte> bytes_;
};

class Ethtool {
 public:
  explicit Ethtool(const std::string& device) : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    device.copy(request_.ifr_name, IFNAMSIZ - 1);
  }
  bool run(void* command) {
    request_.ifr_data = static_cast<char*>(command);
    return ::ioctl(fd_.get(), SIOCETHTOOL, &request_) >= 0;
  }

 private:
  UniqueFd fd_;
  ifreq request_{};
};

std::vector<std::string> feature_names(Ethtool& ethtool) {
  Buffer<ethtool_sset_info> count(ETHTOOL_GSSET_INFO, sizeof(std::uint32_t));
  count.get()->sset_mask = 1ULL << ETH_SS_FEATURES;
  if (!ethtool.run(count.get()) || count.get()->sset_mask == 0) return {};
  const std::uint32_t names = count.get()->data[0];
  Buffer<ethtool_gstrings> strings(ETHTOOL_GSTRINGS, std::size_t{names} * ETH_GSTRING_LEN);
  strings.get()->string_set = ETH_SS_FEATURES;
  strings.get()->len = names;
  if (!ethtool.run(strings.get())) return {};
  std::vector<std::string> result;
  for (std::uint32_t i = 0; i < strings.get()->len; ++i) {
    const auto* text = reinterpret_cast<const char*>(strings.get()->data) + std::size_t{i} * ETH_GSTRING_LEN;
    result.emplace_back(text, ::strnlen(text, ETH_GSTRING_LEN));
  }
  return result;
}

std::uint32_t bit_of(std::size_t feature) {
  return 1U << (feature % kBlockBits);
}

template <std::size_t N>
bool is_one_of(const std::string& name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// A device's features (ethtool -k), by name.
class Features {
 public:
  explicit Features(const std::string& device)
      : device_(device),
        ethtool_(device),
        names_(feature_names(ethtool_)),
        blocks_((names_.size() + kBlockBits - 1) / kBlockBits),
        present_(ETHTOOL_GFEATURES, blocks_ * sizeof(ethtool_get_features_block)) {}

  Result<void> read() {
    present_.get()->size = static_cast<std::uint32_t>(blocks_);
    if (names_.empty() || !ethtool_.run(present_.get())) return fail_os("cannot read the features of " + device_);
    return {};
  }
  /// Of those that `which` picks, after read().
  template <typename Which>
  Result<void> turn_off(Which which) {
    Buffer<ethtool_sfeatures> wanted(ETHTOOL_SFEATURES, blocks_ * sizeof(ethtool_set_features_block));
    wanted.get()->size = static_cast<std::uint32_t>(blocks_);
    for (std::size_t i = 0; i < names_.size(); ++i)
      if (which(names_[i]))
        wanted.get()->features[i / kBlockBits].valid |= bit_of(i) & present_.get()->features[i / kBlockBits].available;
    if (!ethtool_.run(wanted.get())) return fail_os("cannot turn off the offloads of " + device_);
    return read();
  }
  /// The first of those that `which` picks that is on, or nothing.
  template <typename Which>
  std::optional<std::string> active(Which which) const {
    for (std::size_t i = 0; i < names_.size(); ++i)
      if (which(names_[i]) && (present_.get()->features[i / kBlockBits].active & bit_of(i)) != 0) return names_[i];
    return std::nullopt;
  }

 private:
  const std::string device_;
  Ethtool ethtool_;
  const std::vector<std::string> names_;
  const std::size_t blocks_;
  Buffer<ethtool_gfeatures> present_;
};

}  // namespace

Result<void> turn_send_offloads_off(const std::string& device) {
  Features features(device);
  const auto off = features.read().and_then(
      [&] { return features.turn_off([](const auto& name) { return name.starts_with("tx-"); }); });
  if (!off) return off;
  if (const auto left = features.active([](const auto& name) { return is_one_of(name, kMustBeOff); }))
    return fail(device + " does not let go of " + *left + ": checksums would stay unfinished");
  return {};
}

Result<void> leave_vlan_tags_in_frames(const std::string& device) {
  const auto strips = [](const std::string& name) { return is_one_of(name, kStripsTags); };
  Features features(device);
  if (auto read = features.read(); !read) return read;
  if (!features.active(strips)) return {};
  if (auto off = features.turn_off(strips); !off) return off;
  if (const auto left = features.active(strips))
    return fail(device + " takes VLAN tags out of frames before XDP programs see them and does not let go of " + *left +
                "; the uplink must be another NIC, or a VLAN device on this one");
  return {};
}

}  // namespace twinstep::io
