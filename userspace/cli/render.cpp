// SPDX-License-Identifier: Apache-2.0
#include "cli/render.hpp"

#include <array>
#include <cstdint>
#include <cstdio>
#include <set>
#include <string_view>
#include <utility>

namespace twinstep::cli {
namespace {

using nlohmann::ordered_json;

struct Unit {
  double size;
  const char* name;
};

/// `value` in the largest unit that leaves at least 1; units from large to small.
template <std::size_t N>
std::string with_unit(double value, const std::array<Unit, N>& units) {
  for (const auto& [size, name] : units) {
    if (value < size) continue;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.4g%s", value / size, name);
    return text.data();
  }
  return "0";
}

std::string duration(double ns) {
  return with_unit(ns, std::array{Unit{1e9, "s"}, Unit{1e6, "ms"}, Unit{1e3, "us"}, Unit{1, "ns"}});
}

std::string size(double bytes) {
  return with_unit(bytes, std::array{Unit{1 << 30, "GiB"}, Unit{1 << 20, "MiB"}, Unit{1 << 10, "KiB"}, Unit{1, "B"}});
}

std::string scalar(const ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) {
    std::string list;
    for (const auto& each : value) list += (list.empty() ? "" : ", ") + scalar(each);
    return list;
  }
  return value.dump();
}

/// "key value", with a unit where the key names one and numbers aren't asked for as they are.
std::string pair(std::string key, const ordered_json& value, bool numeric) {
  const bool is_time = key.ends_with("_ns") || key.find("_ns_") != std::string::npos;
  if (numeric || !value.is_number() || (!is_time && !key.starts_with("bytes_"))) return key + " " + scalar(value);
  if (!is_time) return key + " " + size(value.get<double>());
  key.erase(key.find("_ns"), std::string_view("_ns").size());
  return key + " " + duration(value.get<double>());
}

/// Appends `key` of `item`: nothing if it is absent, "key  a 1  b 2" for an object.
void append(std::string& line, const std::string& key, const ordered_json& item, bool numeric) {
  const auto found = item.find(key);
  if (found == item.end() || found->is_null() || (found->is_structured() && found->empty())) return;
  const auto add = [&](const std::string& text) { line += (line.empty() ? "" : "  ") + text; };
  if (!found->is_object()) return add(pair(key, *found, numeric));
  add(key);
  for (const auto& [inner, value] : found->items()) add(pair(inner, value, numeric));
}

std::string title_of(const Object& object, const ordered_json& item) {
  std::string title;
  for (const auto& key : object.title) {
    if (!item.contains(key)) continue;
    if (!title.empty()) title += ": ";
    title += scalar(item[key]);
  }
  return title;
}

std::string render_item(const Object& object, const ordered_json& item, bool numeric) {
  std::string text = title_of(object, item);
  std::set<std::string> shown(object.title.begin(), object.title.end());
  for (std::size_t i = 0; i < object.lines.size(); ++i) {
    std::string line;
    for (const auto& key : object.lines[i]) {
      shown.insert(key);
      append(line, key, item, numeric);
    }
    if (!line.empty()) text += (i == 0 ? "  " : "\n\t") + line;
  }
  std::string rest;
  for (const auto& [key, value] : item.items())
    if (!shown.contains(key)) append(rest, key, item, numeric);
  if (!rest.empty()) text += "\n\t" + rest;
  return text + "\n";
}

}  // namespace

std::string render_plain(const Object& object, const ordered_json& model, bool numeric) {
  if (model.is_object()) return render_item(object, model, numeric);
  std::string text;
  for (const auto& item : model)
    if (item.is_object()) text += render_item(object, item, numeric);
  return text;
}

std::string render_json(const ordered_json& model, bool pretty) {
  return model.dump(pretty ? 4 : -1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace twinstep::cli
