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

bool must_be_off(const std::string& name) {
  return std::find(kMustBeOff.begin(), kMustBeOff.end(), name) != kMustBeOff.end();
}

}  // namespace

Result<void> turn_send_offloads_off(const std::string& device) {
  Ethtool ethtool(device);
  const auto names = feature_names(ethtool);
  const std::size_t blocks = (names.size() + kBlockBits - 1) / kBlockBits;
  Buffer<ethtool_gfeatures> present(ETHTOOL_GFEATURES, blocks * sizeof(ethtool_get_features_block));
  present.get()->size = static_cast<std::uint32_t>(blocks);
  if (names.empty() || !ethtool.run(present.get())) return fail_os("cannot read the features of " + device);

  Buffer<ethtool_sfeatures> wanted(ETHTOOL_SFEATURES, blocks * sizeof(ethtool_set_features_block));
  wanted.get()->size = static_cast<std::uint32_t>(blocks);
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i].starts_with("tx-"))
      wanted.get()->features[i / kBlockBits].valid |= bit_of(i) & present.get()->features[i / kBlockBits].available;
  if (!ethtool.run(wanted.get())) return fail_os("cannot turn off the offloads of " + device);

  if (!ethtool.run(present.get())) return fail_os("cannot read the features of " + device);
  for (std::size_t i = 0; i < names.size(); ++i)
    if (must_be_off(names[i]) && (present.get()->features[i / kBlockBits].active & bit_of(i)) != 0)
      return fail(device + " does not let go of " + names[i] + ": checksums would stay unfinished");
  return {};
}

}  // namespace twinstep::io
