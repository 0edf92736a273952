// SPDX-License-Identifier: Apache-2.0
#include "core/compare/translation.hpp"

namespace twinstep::compare {
namespace {

/// Added to the client's latest TSecr: the PVM's segments on their way are at most this much newer, in its
/// milliseconds.
constexpr std::uint32_t kTsvalSlack = 250;

/// What the SVM's TSval lacks to be newer than all that the client has seen; both are in the VMs' numbers.
std::uint32_t tsval_lack(const ts_flow_state& state, std::optional<std::uint32_t> svm_tsval) {
  if ((state.seen & TS_SEEN_TSECR) == 0 || !svm_tsval) return 0;
  const std::uint32_t lack = state.client_tsecr - *svm_tsval + kTsvalSlack;
  return static_cast<std::int32_t>(lack) > 0 ? lack : 0;
}

/// The flags of a connection that the SVM opened in this epoch.
std::uint32_t opening_flags(const ts_flow_state& state) {
  std::uint32_t flags = TS_TRANSLATION_ISN;
  if ((state.seen & TS_SEEN_OPENING) != 0) flags |= TS_TRANSLATION_OPENING;
  if ((state.seen & TS_SEEN_DIALLED) != 0) flags |= TS_TRANSLATION_DIALLED;
  return flags;
}

}  // namespace

std::optional<ts_translation> translation_after_failover(const std::optional<ts_translation>& before,
                                                         const ts_flow_state& state, std::uint32_t epoch,
                                                         std::optional<std::uint32_t> svm_tsval) {
  const bool current = state.epoch == epoch;
  const bool opened = current && (state.seen & TS_SEEN_OPENED) != 0;
  ts_translation after{};
  if (before && !(opened && ends_translation(*before, state.opening_isn))) {
    after = *before;
  } else if (opened) {
    after.vm_isn = state.opening_isn;
    after.flags = opening_flags(state);
  }
  if (current) after.seq_delta += state.seq_delta;
  after.ts_offset += tsval_lack(state, svm_tsval);
  if ((after.seq_delta | after.ts_offset | (after.flags & TS_TRANSLATION_OPENING)) == 0) return std::nullopt;
  return after;
}

bool ends_translation(const ts_translation& translation, std::uint32_t isn) {
  return (translation.flags & TS_TRANSLATION_ISN) == 0 || translation.vm_isn != isn;
}

bool is_closed(const ts_translation& translation) {
  constexpr std::uint32_t kBothFins = TS_TRANSLATION_VM_FIN | TS_TRANSLATION_CLIENT_FIN;
  return (translation.flags & TS_TRANSLATION_RESET) != 0 || (translation.flags & kBothFins) == kBothFins;
}

}  // namespace twinstep::compare
