// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/state/fd_set.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include "memory/os_error.hpp"

namespace twinstep::qemu {

using memory::fail_errno;

Result<SharedFile> SharedFile::create(const char* name) {
  io::UniqueFd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file) return fail_errno("cannot make a file in memory for QEMU");
  return SharedFile(std::move(file));
}

Result<io::UniqueFd> SharedFile::reopen(int flags) const {
  const std::string path = "/proc/self/fd/" + std::to_string(fd());
  io::UniqueFd opened(::open(path.c_str(), flags | O_CLOEXEC));
  if (!opened) return fail_errno("cannot open a file in memory anew (is /proc mounted?)");
  return opened;
}

Result<FdSet> FdSet::create(QmpClient& qmp, const io::UniqueFd& first, Milliseconds timeout) {
  const auto added = qmp.execute("add-fd", {}, timeout, first.get());
  if (!added) return tl::unexpected(added.error());
  return FdSet(added->value("fdset-id", 0));
}

Result<void> FdSet::add(QmpClient& qmp, const io::UniqueFd& fd, Milliseconds timeout) {
  return qmp.execute("add-fd", {{"fdset-id", id_}}, timeout, fd.get()).map([](const Json&) {});
}

}  // namespace twinstep::qemu
