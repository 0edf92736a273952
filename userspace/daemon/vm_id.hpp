// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace twinstep::daemon {

/// The number by which both hosts know a VM on the link: made from its name, so that neither has to tell the other. 1
/// to 65535.
constexpr std::uint16_t vm_id_of(std::string_view name) {
  std::uint32_t hash = 2166136261U;  // FNV-1a (Fowler, Noll, Vo)
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return static_cast<std::uint16_t>((hash >> 16 ^ hash) % 65535 + 1);
}

}  // namespace twinstep::daemon
