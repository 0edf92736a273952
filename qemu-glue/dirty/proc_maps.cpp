// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/proc_maps.hpp"

#include <charconv>
#include <fstream>

namespace twinstep::qemu {
namespace {

// Takes the text up to the next `end` off the line.
std::string_view take_until(std::string_view& line, char end) {
  const auto length = line.find(end);
  const auto taken = line.substr(0, length);
  line.remove_prefix(length == std::string_view::npos ? line.size() : length + 1);
  return taken;
}

bool parse_number(std::string_view text, std::uint64_t& value, int base) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

bool parse_proc_mapping(std::string_view line, ProcMapping& mapping) {
  constexpr int kHex = 16;
  constexpr int kDecimal = 10;
  if (!parse_number(take_until(line, '-'), mapping.start, kHex) ||
      !parse_number(take_until(line, ' '), mapping.end, kHex))
    return false;
  mapping.permissions = take_until(line, ' ');
  take_until(line, ' ');  // offset
  take_until(line, ' ');  // device
  if (!parse_number(take_until(line, ' '), mapping.inode, kDecimal)) return false;
  const auto path = line.find_first_not_of(' ');
  mapping.path = path == std::string_view::npos ? "" : line.substr(path);
  return mapping.permissions.size() == 4 && mapping.start < mapping.end;
}

Result<std::vector<ProcMapping>> read_proc_maps(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/maps";
  std::ifstream file(path);
  if (!file) return fail("cannot read " + path + ": the process is gone or this one lacks the right");
  std::vector<ProcMapping> mappings;
  ProcMapping mapping;
  for (std::string line; std::getline(file, line);) {
    if (parse_proc_mapping(line, mapping)) mappings.push_back(mapping);
  }
  return mappings;
}

}  // namespace twinstep::qemu
