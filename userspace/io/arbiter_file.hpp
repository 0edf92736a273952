// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/result.hpp"
#include "io/arbiter.hpp"

namespace twinstep::io {

/// An arbiter in a directory on storage that both hosts see. Per VM: VM.json, the record, readable by people, replaced
/// as a whole; VM.lock, locked (fcntl(2), F_OFD_SETLK) while the record is being changed. A host that dies while it
/// holds the lock frees it as soon as the storage notices: at once on a local or cluster file system, after the lease
/// on NFS. Timeouts bound the wait for the lock; storage that hangs makes a call hang, too.
class FileArbiter : public Arbiter {
 public:
  /// report: told in one sentence why a call ends as unreachable; called in the caller's thread.
  /// Error: the directory does not exist or cannot be written.
  static Result<std::unique_ptr<FileArbiter>> open(std::filesystem::path directory,
                                                   std::function<void(const std::string&)> report);

  failover::ArbiterReply read(const std::string& vm, Nanos timeout_ns) override;
  failover::ArbiterReply swap(const std::string& vm, const std::optional<failover::Record>& expected,
                              const failover::Record& desired, Nanos timeout_ns) override;

 private:
  FileArbiter(std::filesystem::path directory, std::function<void(const std::string&)> report);

  Result<std::optional<failover::Record>> load(const std::string& vm) const;
  Result<void> store(const std::string& vm, const failover::Record& record) const;
  Result<failover::ArbiterReply> swap_locked(const std::string& vm, const std::optional<failover::Record>& expected,
                                             const failover::Record& desired, Nanos timeout_ns) const;
  failover::ArbiterReply unreachable(const std::string& vm, const Error& error) const;

  const std::filesystem::path directory_;
  const std::function<void(const std::string&)> report_;
};

}  // namespace twinstep::io
