// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/state/device_state.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "memory/os_error.hpp"
#include "qemu-glue/state/snapshot_image.hpp"

namespace twinstep::qemu {
namespace {

using memory::fail_errno;

constexpr const char* kNode = "twinstep-state";

Result<void> write_at(int fd, std::span<const std::byte> bytes, std::size_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) return fail_errno("cannot write a device state into memory");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::size_t>(written);
  }
  return {};
}

Result<void> read_all(int fd, std::span<std::byte> to) {
  for (std::size_t offset = 0; offset < to.size();) {
    const ssize_t got = ::pread(fd, to.data() + offset, to.size() - offset, static_cast<off_t>(offset));
    if (got < 0) return fail_errno("cannot read a device state from memory");
    if (got == 0) return fail("a device state became shorter while it was read");
    offset += static_cast<std::size_t>(got);
  }
  return {};
}

bool is_concluded(const QmpEvent& event, const std::string& job) {
  return event.data.value("id", "") == job && event.data.value("status", "") == "concluded";
}

// Why a concluded job failed; nothing: it did not.
Result<std::string> job_error(QmpClient& qmp, const std::string& id, Milliseconds timeout) {
  const auto jobs = qmp.execute("query-jobs", {}, timeout);
  if (!jobs) return tl::unexpected(jobs.error());
  for (const auto& job : *jobs) {
    if (job.value("id", "") == id) return job.value("error", "");
  }
  return fail("QEMU lost the job " + id);
}

}  // namespace

StateSaver::StateSaver(SharedFile file, io::UniqueFd qemu_end, FdSet set)
    : file_(std::move(file)), qemu_end_(std::move(qemu_end)), set_(set) {}

Result<StateSaver> StateSaver::create(QmpClient& qmp, Milliseconds timeout) {
  auto file = SharedFile::create("twinstep-saved-state");
  if (!file) return tl::unexpected(file.error());
  // QEMU takes a descriptor of exactly the access mode it would open the file with.
  auto qemu_end = file->reopen(O_WRONLY);
  if (!qemu_end) return tl::unexpected(qemu_end.error());
  const auto set = FdSet::create(qmp, *qemu_end, timeout);
  if (!set) return tl::unexpected(set.error());
  return StateSaver(std::move(*file), std::move(*qemu_end), *set);
}

Result<std::span<const std::byte>> StateSaver::save(QmpClient& qmp, Milliseconds timeout) {
  if (::ftruncate(file_.fd(), 0) != 0 || ::lseek(qemu_end_.get(), 0, SEEK_SET) != 0) {
    return fail_errno("cannot empty the file for a device state");
  }
  // live: or QEMU would give its disks away, as before a migration.
  if (auto saved = qmp.execute("xen-save-devices-state", {{"filename", set_.name()}, {"live", false}}, timeout);
      !saved) {
    return tl::unexpected(saved.error());
  }
  struct stat status {};
  if (::fstat(file_.fd(), &status) != 0) return fail_errno("cannot size a device state");
  const auto bytes = static_cast<std::size_t>(status.st_size);
  if (bytes > kDeviceStateBytesMax)
    return fail("the VM's device state of " + std::to_string(bytes) + " bytes is beyond the limit of 16 MiB");
  state_.resize(bytes);
  if (auto read = read_all(file_.fd(), state_); !read) return tl::unexpected(read.error());
  return std::span<const std::byte>(state_);
}

StateLoader::StateLoader(SharedFile file, std::string machine_type)
    : file_(std::move(file)), machine_type_(std::move(machine_type)) {}

Result<StateLoader> StateLoader::create(QmpClient& qmp, std::string machine_type, Milliseconds timeout) {
  auto file = SharedFile::create("twinstep-state-to-load");
  if (!file) return tl::unexpected(file.error());
  auto step = write_at(file->fd(), snapshot_image_head(kDeviceStateBytesMax), 0);
  if (!step) return tl::unexpected(step.error());
  if (::ftruncate(file->fd(), static_cast<off_t>(kVmStateOffset + kDeviceStateBytesMax)) != 0) {
    return fail_errno("cannot size the file for a device state");
  }
  const auto read_write = file->reopen(O_RDWR);
  const auto read_only = file->reopen(O_RDONLY);
  if (!read_write || !read_only) return tl::unexpected(read_write ? read_only.error() : read_write.error());
  auto set = FdSet::create(qmp, *read_write, timeout);
  if (!set) return tl::unexpected(set.error());
  step = set->add(qmp, *read_only, timeout);
  if (!step) return tl::unexpected(step.error());
  // No locking: the two descriptors of the set would be in each other's way.
  const Json protocol{{"driver", "file"}, {"filename", set->name()}, {"locking", "off"}};
  auto added = qmp.execute("blockdev-add", {{"driver", "qcow2"}, {"node-name", kNode}, {"file", protocol}}, timeout);
  if (!added) return tl::unexpected(added.error());
  return StateLoader(std::move(*file), std::move(machine_type));
}

Result<void> StateLoader::load(QmpClient& qmp, std::span<const std::byte> saved, Milliseconds timeout) {
  auto step = make_vm_state(saved, machine_type_, stream_);
  if (step) step = write_state();
  if (step) step = run_job(qmp, "twinstep-load-" + std::to_string(++loads_), timeout);
  return step;
}

// What is left of a longer one is wiped: a damaged state must never run on into the one before it.
Result<void> StateLoader::write_state() {
  if (stream_.size() > kDeviceStateBytesMax) {
    return fail("a device state of " + std::to_string(stream_.size()) + " bytes is beyond the limit of 16 MiB");
  }
  const std::size_t bytes = stream_.size();
  if (bytes < bytes_used_) stream_.resize(bytes_used_);
  bytes_used_ = bytes;
  return write_at(file_.fd(), stream_, kVmStateOffset);
}

Result<void> StateLoader::run_job(QmpClient& qmp, const std::string& job, Milliseconds timeout) {
  const Json arguments{{"job-id", job}, {"tag", kSnapshotTag}, {"vmstate", kNode}, {"devices", Json::array({kNode})}};
  if (auto started = qmp.execute("snapshot-load", arguments, timeout); !started) return tl::unexpected(started.error());
  const auto concluded = [&](const QmpEvent& event) { return is_concluded(event, job); };
  if (auto event = qmp.wait_event("JOB_STATUS_CHANGE", concluded, timeout); !event)
    return tl::unexpected(event.error());
  const auto error = job_error(qmp, job, timeout);
  if (!error) return tl::unexpected(error.error());
  if (auto dismissed = qmp.execute("job-dismiss", {{"id", job}}, timeout); !dismissed)
    return tl::unexpected(dismissed.error());
  if (!error->empty()) return fail("QEMU refused a device state: " + *error);
  return {};
}

}  // namespace twinstep::qemu
