// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <toml++/toml.h>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace twinstep::daemon {

/// Where in the file something went wrong; only the first error is kept, as it is often the cause of the others.
class ConfigErrors {
 public:
  explicit ConfigErrors(std::string file) : file_(std::move(file)) {}
  /// line 0: the whole file.
  void add(std::uint32_t line, const std::string& key, const std::string& problem);
  const std::optional<Error>& first() const { return first_; }

 private:
  std::string file_;
  std::optional<Error> first_;
};

/// Reads the keys of one table, each with its range, and notes errors by line and key. What has an error reads as a
/// default.
class ConfigTable {
 public:
  /// name: as in the file, "link" or "vm.limits". table: may be null, an absent table.
  ConfigTable(const toml::table* table, std::string name, std::uint32_t line, ConfigErrors& errors)
      : table_(table), name_(std::move(name)), line_(line), errors_(errors) {}

  /// The string `key`, which must be there unless `fallback` is given, and must not be empty.
  std::string string(std::string_view key, const std::optional<std::string>& fallback = std::nullopt);
  /// A whole number in [min, max].
  std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max);
  bool boolean(std::string_view key, bool fallback);
  /// An array of strings; absent: empty.
  std::vector<std::string> strings(std::string_view key);
  /// A size such as "256M" in bytes, in [min, max]. Without fallback it must be there.
  std::uint64_t bytes(std::string_view key, std::uint64_t min, std::uint64_t max,
                      std::optional<std::uint64_t> fallback = std::nullopt);
  /// The table `key` in this one; may be absent.
  ConfigTable table(std::string_view key);
  /// The array of tables `key`; null if it is absent, empty or anything else.
  const toml::array* tables(std::string_view key);

  /// Notes an error at `key`'s line; also for checks that the caller makes.
  void error(std::string_view key, const std::string& problem);
  /// Notes each key that was never asked for. To be called last.
  void refuse_unknown();

 private:
  const toml::node* find(std::string_view key);

  const toml::table* table_;
  std::string name_;
  std::uint32_t line_;
  ConfigErrors& errors_;
  std::set<std::string, std::less<>> known_;
};

/// "256M" as bytes; K, M, G and T count in powers of 1024. Nothing: not a size.
std::optional<std::uint64_t> parse_bytes(std::string_view text);

}  // namespace twinstep::daemon
