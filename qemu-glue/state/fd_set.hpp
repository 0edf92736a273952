// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "qemu-glue/qmp/client.hpp"

namespace twinstep::qemu {

/// A file in memory (memfd) that QEMU can open by name. It stays QEMU's as long as QEMU runs: taking a descriptor back
/// while the VM is stopped leaks it there, so it is added once and its content changed from this side.
class SharedFile {
 public:
  /// `name`: for people who look into /proc.
  static Result<SharedFile> create(const char* name);

  /// This side's descriptor, read and write.
  int fd() const { return file_.get(); }
  /// Opens the file anew with these flags (O_RDONLY, O_WRONLY, O_RDWR): an own offset and access mode.
  Result<io::UniqueFd> reopen(int flags) const;

 private:
  explicit SharedFile(io::UniqueFd file) : file_(std::move(file)) {}

  io::UniqueFd file_;
};

/// Descriptors that QEMU finds under one name, and picks from by the access mode it needs.
class FdSet {
 public:
  /// Makes a set in QEMU, with a first descriptor.
  static Result<FdSet> create(QmpClient& qmp, const io::UniqueFd& first, Milliseconds timeout);
  Result<void> add(QmpClient& qmp, const io::UniqueFd& fd, Milliseconds timeout);

  /// The file name to give to QEMU.
  std::string name() const { return "/dev/fdset/" + std::to_string(id_); }

 private:
  explicit FdSet(int id) : id_(id) {}

  int id_;
};

}  // namespace twinstep::qemu
