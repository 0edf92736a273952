// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/translator.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace twinstep::daemon {
namespace {

/// Linux stays in TIME_WAIT for 60 s after the last segment; a repeated FIN is answered until then.
constexpr Nanos kClosedNs = 60 * kSecond;

std::string_view bytes_of(const ts_flow_key& key) {
  return {reinterpret_cast<const char*>(&key), sizeof(key)};
}

OutboundShift shift_of(const ts_translation& translation) {
  return {.seq_delta = translation.seq_delta, .ts_offset = translation.ts_offset};
}

}  // namespace

std::size_t FlowHash::operator()(const ts_flow_key& key) const noexcept {
  return std::hash<std::string_view>{}(bytes_of(key));
}

bool FlowEqual::operator()(const ts_flow_key& a, const ts_flow_key& b) const noexcept {
  return bytes_of(a) == bytes_of(b);
}

std::vector<compare::FlowTranslation> Translator::refresh(Nanos now) {
  std::vector<compare::FlowTranslation> all;
  copy_.clear();
  for (const auto& [key, translation] : port_.programs().translations(port_.slot_number())) {
    // The programs' clock is coarse: it may be some milliseconds behind, and never ahead.
    const Nanos idle = std::max<Nanos>(now - static_cast<Nanos>(translation.used_ns), 0);
    if (compare::is_closed(translation) && idle > kClosedNs) {
      port_.programs().remove_translation(key);
      continue;
    }
    copy_.emplace(key, translation);
    all.push_back({.flow = key, .numbers = translation});
    all.back().numbers.used_ns = static_cast<std::uint64_t>(idle);
  }
  std::ranges::sort(all, std::ranges::greater{}, [](const auto& each) { return each.numbers.used_ns; });
  port_.set_translates(!copy_.empty());
  return all;
}

void Translator::install(std::span<const compare::FlowTranslation> translations, Nanos now) {
  copy_.clear();
  const std::size_t fitting = std::min<std::size_t>(translations.size(), TS_TRANSLATIONS_MAX);
  for (const auto& each : translations.last(fitting)) {
    ts_translation numbers = each.numbers;
    numbers.used_ns = static_cast<std::uint64_t>(now) - numbers.used_ns;
    if (port_.programs().set_translation(port_.key_of(each.flow), numbers))
      copy_.emplace(port_.key_of(each.flow), numbers);
  }
  port_.set_translates(!copy_.empty());
}

OutboundShift Translator::on_output(const compare::Frame& frame) {
  if (copy_.empty() || frame.cls != TS_CLASS_TCP) return {};
  const auto found = copy_.find(port_.key_of(frame.flow));
  if (found == copy_.end()) return {};
  if ((frame.tcp.flags & compare::kSyn) != 0 && compare::ends_translation(found->second, frame.tcp.seq)) {
    copy_.erase(found);
    return {};
  }
  if ((found->second.flags & TS_TRANSLATION_OPENING) != 0) {
    // The client may have told the difference meanwhile.
    if (const auto known = port_.programs().translation(found->first)) found->second = *known;
  }
  return shift_of(found->second);
}

OutboundShift Translator::of_made(const compare::Frame& frame) const {
  const auto found = copy_.find(port_.key_of(frame.flow));
  return found == copy_.end() ? OutboundShift{} : shift_of(found->second);
}

}  // namespace twinstep::daemon
