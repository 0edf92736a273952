// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/guest_ram.hpp"

#include <fcntl.h>

#include <array>
#include <cstdio>
#include <string>

#include "io/unique_fd.hpp"
#include "memory/os_error.hpp"
#include "qemu-glue/dirty/proc_maps.hpp"

namespace twinstep::qemu {
namespace {

// The name that QEMU gives to the memory file of every memory-backend-memfd.
constexpr std::string_view kBackendPath = "/memfd:memory-backend-memfd";

Result<ProcMapping> find_backend(pid_t pid, std::uint64_t bytes) {
  const auto mappings = read_proc_maps(pid);
  if (!mappings) return tl::unexpected(mappings.error());
  const ProcMapping* found = nullptr;
  for (const auto& mapping : *mappings) {
    if (!mapping.path.starts_with(kBackendPath) || mapping.permissions != "rw-s") continue;
    if (found != nullptr) return fail("the QEMU process has several shared memory backends, one is expected");
    found = &mapping;
  }
  if (found == nullptr) return fail("the QEMU process has no shared memory backend for the VM's RAM");
  if (found->end - found->start != bytes) {
    return fail("the VM's RAM is " + std::to_string(found->end - found->start) + " bytes in QEMU, not " +
                std::to_string(bytes));
  }
  return *found;
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

}  // namespace

Result<GuestRam> GuestRam::open(pid_t pid, std::uint64_t bytes) {
  const auto found = find_backend(pid, bytes);
  if (!found) return tl::unexpected(found.error());
  const auto file = open_backing(pid, *found);
  if (!file) return tl::unexpected(file.error());
  auto mapping = memory::Mapping::shared(file->get(), bytes);
  if (!mapping) return tl::unexpected(mapping.error());
  return GuestRam(std::move(*mapping), RemoteRange{found->start, bytes});
}

}  // namespace twinstep::qemu
