// SPDX-License-Identifier: Apache-2.0
#include "io/arbiter_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>
#include <utility>

#include "io/monotonic.hpp"
#include "io/os_error.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {
namespace {

using failover::ArbiterReply;
using failover::Record;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kRecordBytesMax = 4096;
constexpr std::chrono::milliseconds kLockPause{2};

/// Waits for the exclusive lock of `path`, which lasts as long as the descriptor. Locks of open file descriptions also
/// keep two threads of one process apart.
Result<UniqueFd> lock_file(const fs::path& path, Nanos timeout_ns) {
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return fail_os("cannot open " + path.string());
  const Nanos until = monotonic_ns() + timeout_ns;
  for (;;) {
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (::fcntl(file.get(), F_OFD_SETLK, &whole) == 0) return file;
    if (errno != EAGAIN && errno != EACCES && errno != EINTR) return fail_os("cannot lock " + path.string());
    if (monotonic_ns() >= until)
      return fail(path.string() + " stays locked: the other host, or another daemon, holds it");
    std::this_thread::sleep_for(kLockPause);
  }
}

Result<void> write_all(const UniqueFd& file, std::string_view text, const fs::path& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_os("cannot write " + path.string());
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

/// Makes a rename in `directory` survive a loss of power.
Result<void> sync_directory(const fs::path& directory) {
  const UniqueFd handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle || ::fsync(handle.get()) != 0) return fail_os("cannot sync the directory " + directory.string());
  return {};
}

std::string to_text(const std::string& vm, const Record& record) {
  const json object = {
      {"vm", vm}, {"generation", record.generation}, {"primary", record.primary}, {"secondary", record.secondary}};
  return object.dump(2) + "\n";
}

std::optional<Record> from_text(const std::string& vm, const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object() || object.size() != 4) return std::nullopt;
  const auto named = object.find("vm");
  const auto generation = object.find("generation");
  const auto primary = object.find("primary");
  const auto secondary = object.find("secondary");
  for (const auto& member : {named, primary, secondary})
    if (member == object.end() || !member->is_string()) return std::nullopt;
  if (generation == object.end() || !generation->is_number_unsigned()) return std::nullopt;
  Record record{generation->get<std::uint64_t>(), primary->get<std::string>(), secondary->get<std::string>()};
  if (*named != vm || record.generation == 0 || record.primary.empty()) return std::nullopt;
  return record;
}

}  // namespace

Result<std::unique_ptr<FileArbiter>> FileArbiter::open(fs::path directory,
                                                       std::function<void(const std::string&)> report) {
  std::error_code error;
  if (!fs::is_directory(directory, error))
    return fail("the arbiter's directory " + directory.string() +
                " does not exist: create it on storage that both hosts see, or correct arbiter.path");
  if (::access(directory.c_str(), R_OK | W_OK | X_OK) != 0)
    return fail_os("the arbiter's directory " + directory.string() + " cannot be used");
  return std::unique_ptr<FileArbiter>(new FileArbiter(std::move(directory), std::move(report)));
}

FileArbiter::FileArbiter(fs::path directory, std::function<void(const std::string&)> report)
    : directory_(std::move(directory)), report_(std::move(report)) {}

ArbiterReply FileArbiter::read(const std::string& vm, Nanos /*timeout_ns*/) {
  // The record is replaced by rename(2), so what is read is whole without the lock.
  auto record = load(vm);
  if (!record) return unreachable(vm, record.error());
  return {ArbiterReply::Status::ok, *record};
}

ArbiterReply FileArbiter::swap(const std::string& vm, const std::optional<Record>& expected, const Record& desired,
                               Nanos timeout_ns) {
  auto reply = swap_locked(vm, expected, desired, timeout_ns);
  return reply ? *reply : unreachable(vm, reply.error());
}

Result<ArbiterReply> FileArbiter::swap_locked(const std::string& vm, const std::optional<Record>& expected,
                                              const Record& desired, Nanos timeout_ns) const {
  const auto lock = lock_file(directory_ / (vm + ".lock"), timeout_ns);
  if (!lock) return tl::unexpected(lock.error());
  const auto current = load(vm);
  if (!current) return tl::unexpected(current.error());
  if (*current != desired) {
    if (*current != expected) return ArbiterReply{ArbiterReply::Status::conflict, *current};
    if (auto stored = store(vm, desired); !stored) return tl::unexpected(stored.error());
  }
  // Also for a record found in place: the swap that put it there may have been cut off before this.
  if (auto synced = sync_directory(directory_); !synced) return tl::unexpected(synced.error());
  return ArbiterReply{ArbiterReply::Status::ok, desired};
}

Result<std::optional<Record>> FileArbiter::load(const std::string& vm) const {
  const fs::path path = directory_ / (vm + ".json");
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) {
    std::error_code error;
    if (fs::is_directory(directory_, error)) return std::nullopt;
    return fail("the arbiter's directory " + directory_.string() + " is gone: is its file system mounted?");
  }
  if (!file) return fail_os("cannot open " + path.string());
  std::array<char, kRecordBytesMax> buffer{};
  const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
  if (got < 0) return fail_os("cannot read " + path.string());
  auto record = from_text(vm, std::string(buffer.data(), static_cast<std::size_t>(got)));
  if (!record)
    return fail(path.string() +
                " holds no valid record: make sure on which host the VM runs, stop both daemons and correct it");
  return record;
}

Result<void> FileArbiter::store(const std::string& vm, const Record& record) const {
  const fs::path path = directory_ / (vm + ".json");
  const fs::path fresh = directory_ / (vm + ".json.new");
  const UniqueFd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return fail_os("cannot create " + fresh.string());
  if (auto written = write_all(file, to_text(vm, record), fresh); !written) return written;
  if (::fsync(file.get()) != 0) return fail_os("cannot sync " + fresh.string());
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_os("cannot replace " + path.string());
  return {};
}

ArbiterReply FileArbiter::unreachable(const std::string& vm, const Error& error) const {
  report_("the arbiter cannot be asked about VM '" + vm + "': " + error.message);
  return {ArbiterReply::Status::unreachable, std::nullopt};
}

}  // namespace twinstep::io
