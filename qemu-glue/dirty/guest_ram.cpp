// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/guest_ram.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>

#include "memory/os_error.hpp"
#include "qemu-glue/dirty/proc_maps.hpp"

namespace twinstep::qemu {
namespace {

// The name that QEMU gives to the memory file of every memory-backend-memfd.
constexpr std::string_view kBackendPath = "/memfd:memory-backend-memfd";

/// By inode, the lowest descriptor through which QEMU holds a backend. QEMU makes the backends in the order of its
/// command line and closes nothing between them, so the descriptors' order is the backends' order.
std::map<std::uint64_t, int> backend_descriptors(pid_t pid) {
  std::map<std::uint64_t, int> found;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", failed)) {
    if (!std::filesystem::read_symlink(entry.path(), failed).string().starts_with(kBackendPath)) continue;
    const std::string name = entry.path().filename();
    int number = 0;
    struct stat status {};
    if (std::from_chars(name.data(), name.data() + name.size(), number).ec != std::errc()) continue;
    if (::stat(entry.path().c_str(), &status) != 0) continue;
    const auto [known, added] = found.emplace(status.st_ino, number);
    if (!added) known->second = std::min(known->second, number);
  }
  return found;
}

/// The mappings of the backends, in the backends' order.
Result<std::vector<ProcMapping>> find_backends(pid_t pid) {
  auto mappings = read_proc_maps(pid);
  if (!mappings) return tl::unexpected(mappings.error());
  std::erase_if(*mappings, [](const ProcMapping& mapping) {
    return !mapping.path.starts_with(kBackendPath) || mapping.permissions != "rw-s";
  });
  if (mappings->empty()) return fail("the QEMU process has no shared memory backend for the VM's RAM");
  const auto descriptors = backend_descriptors(pid);
  const auto order = [&](const ProcMapping& mapping) {
    const auto found = descriptors.find(mapping.inode);
    return found == descriptors.end() ? -1 : found->second;
  };
  std::sort(mappings->begin(), mappings->end(),
            [&](const ProcMapping& a, const ProcMapping& b) { return order(a) < order(b); });
  for (std::size_t i = 0; i < mappings->size(); ++i) {
    const bool twice = i > 0 && (*mappings)[i].inode == (*mappings)[i - 1].inode;
    if (twice || order((*mappings)[i]) < 0) return fail("cannot tell QEMU's memory backends from each other");
  }
  return mappings;
}

// The file behind a mapping, whatever its descriptor is in the other process, or if it has none any more.
Result<io::UniqueFd> open_backing(pid_t pid, const ProcMapping& mapping) {
  std::array<char, 96> path{};
  static_cast<void>(std::snprintf(path.data(), path.size(), "/proc/%d/map_files/%llx-%llx", pid,
                                  static_cast<unsigned long long>(mapping.start),
                                  static_cast<unsigned long long>(mapping.end)));
  io::UniqueFd file(::open(path.data(), O_RDWR | O_CLOEXEC));
  if (!file) return memory::fail_errno(std::string("cannot open the VM's RAM ") + path.data() + " (root is needed)");
  return file;
}

/// Adds the pages of [0, bytes) of `file` that have memory to `pages`, as pages from `first` on.
Result<void> add_present(int file, std::uint64_t bytes, std::size_t first, memory::PageBitmap& pages) {
  off_t at = 0;
  while (static_cast<std::uint64_t>(at) < bytes) {
    const off_t data = ::lseek(file, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {  // a file system that doesn't know: all may be there
      pages.set_range(first, first + bytes / memory::kPageBytes);
      return {};
    }
    const off_t hole = data < 0 ? -1 : ::lseek(file, data, SEEK_HOLE);
    if (hole < 0) return memory::fail_errno("cannot tell which of the VM's RAM is in use");
    pages.set_range(first + static_cast<std::size_t>(data) / memory::kPageBytes,
                    first + static_cast<std::size_t>(hole) / memory::kPageBytes);
    at = hole;
  }
  return {};
}

}  // namespace

Result<GuestRam> GuestRam::open(pid_t pid, std::uint64_t bytes) {
  const auto found = find_backends(pid);
  if (!found) return tl::unexpected(found.error());
  std::vector<RemoteRange> ranges;
  std::vector<io::UniqueFd> files;
  std::vector<memory::Mapping::Piece> pieces;
  for (const auto& mapping : *found) {
    auto file = open_backing(pid, mapping);
    if (!file) return tl::unexpected(file.error());
    ranges.push_back({mapping.start, mapping.end - mapping.start});
    pieces.push_back({file->get(), static_cast<std::size_t>(ranges.back().bytes)});
    files.push_back(std::move(*file));
  }
  const auto total = std::accumulate(ranges.begin(), ranges.end(), std::uint64_t{0},
                                     [](std::uint64_t sum, const RemoteRange& range) { return sum + range.bytes; });
  if (total != bytes) {
    return fail("the VM's RAM is " + std::to_string(total) + " bytes in QEMU, not " + std::to_string(bytes));
  }
  auto mapping = memory::Mapping::shared(pieces);
  if (!mapping) return tl::unexpected(mapping.error());
  return GuestRam(std::move(*mapping), std::move(ranges), std::move(files));
}

Result<memory::PageBitmap> GuestRam::present() const {
  memory::PageBitmap pages(bytes().size() / memory::kPageBytes);
  std::size_t first = 0;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    if (auto added = add_present(files_[i].get(), in_qemu_[i].bytes, first, pages); !added)
      return tl::unexpected(added.error());
    first += in_qemu_[i].bytes / memory::kPageBytes;
  }
  return pages;
}

}  // namespace twinstep::qemu
