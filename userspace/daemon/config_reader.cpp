// SPDX-License-Identifier: Apache-2.0
#include "daemon/config_reader.hpp"

#include <charconv>
#include <limits>

namespace twinstep::daemon {
namespace {

/// Bytes as a person would write them in the file.
std::string bytes_text(std::uint64_t bytes) {
  for (const auto& [suffix, shift] : {std::pair{"G", 30}, std::pair{"M", 20}, std::pair{"K", 10}})
    if (bytes >= (std::uint64_t{1} << shift) && bytes % (std::uint64_t{1} << shift) == 0)
      return std::to_string(bytes >> shift) + suffix;
  return std::to_string(bytes);
}

}  // namespace

void ConfigErrors::add(std::uint32_t line, const std::string& key, const std::string& problem) {
  if (first_) return;
  first_ = Error{file_ + (line > 0 ? ":" + std::to_string(line) : "") + ": " + key + ": " + problem};
}

const toml::node* ConfigTable::find(std::string_view key) {
  known_.emplace(key);
  return table_ == nullptr ? nullptr : table_->get(key);
}

void ConfigTable::error(std::string_view key, const std::string& problem) {
  const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
  const std::uint32_t line = node == nullptr ? line_ : node->source().begin.line;
  errors_.add(line, name_.empty() ? std::string(key) : name_ + "." + std::string(key), problem);
}

std::string ConfigTable::string(std::string_view key, const std::optional<std::string>& fallback) {
  const toml::node* node = find(key);
  if (node == nullptr && fallback) return *fallback;
  if (node == nullptr) {
    error(key, "is missing: add " + std::string(key) + " = \"...\"");
    return {};
  }
  const auto value = node->value_exact<std::string>();
  if (!value || value->empty()) error(key, "must be a string in quotes that is not empty");
  return value.value_or("");
}

std::int64_t ConfigTable::integer(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max) {
  const toml::node* node = find(key);
  if (node == nullptr) return fallback;
  const auto value = node->value_exact<std::int64_t>();
  if (value && *value >= min && *value <= max) return *value;
  error(key, "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  return fallback;
}

bool ConfigTable::boolean(std::string_view key, bool fallback) {
  const toml::node* node = find(key);
  if (node == nullptr) return fallback;
  const auto value = node->value_exact<bool>();
  if (!value) error(key, "must be true or false");
  return value.value_or(fallback);
}

std::vector<std::string> ConfigTable::strings(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return {};
  std::vector<std::string> values;
  if (const toml::array* array = node->as_array()) {
    for (const auto& element : *array)
      if (auto value = element.value_exact<std::string>()) values.push_back(std::move(*value));
    if (values.size() == array->size()) return values;
  }
  error(key, "must be an array of strings, as in [\"-m\", \"x\"]");
  return {};
}

std::uint64_t ConfigTable::bytes(std::string_view key, std::uint64_t min, std::uint64_t max,
                                 std::optional<std::uint64_t> fallback) {
  if (find(key) == nullptr && fallback) return *fallback;
  const auto text = string(key);
  if (const auto value = parse_bytes(text); value && *value >= min && *value <= max) return *value;
  error(key, "must be a size from \"" + bytes_text(min) + "\" to \"" + bytes_text(max) + "\"");
  return fallback.value_or(min);
}

ConfigTable ConfigTable::table(std::string_view key) {
  const std::string path = name_.empty() ? std::string(key) : name_ + "." + std::string(key);
  const toml::node* node = find(key);
  if (node != nullptr && !node->is_table()) error(key, "must be a table, as in [" + path + "]");
  const toml::table* found = node == nullptr ? nullptr : node->as_table();
  return {found, path, node == nullptr ? line_ : node->source().begin.line, errors_};
}

const toml::array* ConfigTable::tables(std::string_view key) {
  const toml::node* node = find(key);
  const toml::array* array = node == nullptr ? nullptr : node->as_array();
  return array != nullptr && array->is_homogeneous<toml::table>() ? array : nullptr;
}

void ConfigTable::refuse_unknown() {
  if (table_ == nullptr) return;
  for (const auto& [key, node] : *table_) {
    if (known_.contains(key.str())) continue;
    std::string expected;
    for (const auto& name : known_) expected += (expected.empty() ? "" : ", ") + name;
    error(key.str(), "is not known here: use one of " + expected + ", or remove it");
  }
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{}) return std::nullopt;
  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  constexpr std::string_view kSuffixes = "KMGT";
  if (suffix.empty()) return number;
  const auto power = kSuffixes.find(suffix.front());
  if (suffix.size() != 1 || power == std::string_view::npos) return std::nullopt;
  const auto shift = static_cast<unsigned>(10 * (power + 1));
  if (number > std::numeric_limits<std::uint64_t>::max() >> shift) return std::nullopt;
  return number << shift;
}

}  // namespace twinstep::daemon
