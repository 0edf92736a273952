// SPDX-License-Identifier: Apache-2.0
// Real QEMUs that are given bad input, bad state, or a bullet.
#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/syscall.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <future>
#include <thread>

#include "qemu-glue/dirty/remote_syscall.hpp"
#include "qemu-glue/dirty/soft_dirty_source.hpp"
#include "qemu-glue/dirty/uffd_dirty_source.hpp"
#include "qemu-glue/state/device_state.hpp"
#include "qemu-glue/state/run_state.hpp"
#include "vm_fixture.hpp"

namespace twinstep::machine_test {
namespace {

using std::chrono::milliseconds;
using ::testing::Test;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Qemu : public Test {
 protected:
  void SetUp() override {
    if (const auto missing = missing_for_qemu()) GTEST_SKIP() << *missing;
  }

  qemu::QemuProcess launch_empty() {
    auto process = qemu::launch(empty_spec(dir_.path()), kTimeout);
    if (!process) throw std::runtime_error(process.error().message);
    return std::move(*process);
  }

  TempDir dir_;
};

TEST_F(Qemu, ProbeNamesTheResolvedMachine) {
  auto process = launch_empty();
  const auto features = qemu::probe(process.qmp());
  ASSERT_TRUE(features) << features.error().message;
  EXPECT_TRUE(features->machine_type.starts_with("pc-q35-")) << features->machine_type;
}

TEST_F(Qemu, EndsWithItsObject) {
  pid_t pid = 0;
  {
    auto process = launch_empty();
    pid = process.pid();
    EXPECT_TRUE(process.alive());
    EXPECT_EQ(::getpgid(pid), pid);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST_F(Qemu, EndsWithTheThreadThatLaunchedIt) {
  std::optional<qemu::QemuProcess> process;
  std::thread([&] { process = launch_empty(); }).join();
  const auto until = std::chrono::steady_clock::now() + kTimeout;
  while (process->alive() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_FALSE(process->alive());
}

TEST_F(Qemu, InheritsNoOtherDescriptor) {
  const io::UniqueFd secret(::memfd_create("twinstep-secret", 0));  // without CLOEXEC
  auto process = launch_empty();
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(process.pid()) + "/fd")) {
    std::error_code gone;
    EXPECT_FALSE(contains(std::filesystem::read_symlink(entry.path(), gone).string(), "twinstep-secret"));
  }
}

TEST_F(Qemu, EarlyDeathShowsItsLog) {
  auto spec = empty_spec(dir_.path());
  spec.args.push_back("-no-such-option");
  const auto process = qemu::launch(spec, kTimeout);
  ASSERT_FALSE(process);
  EXPECT_TRUE(contains(process.error().message, "exit status 1")) << process.error().message;
  EXPECT_TRUE(contains(process.error().message, "-no-such-option: invalid option")) << process.error().message;
}

TEST_F(Qemu, MissingBinaryIsNamed) {
  auto spec = empty_spec(dir_.path());
  spec.binary = "/nonexistent/qemu";
  const auto process = qemu::launch(spec, kTimeout);
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().message, "cannot run /nonexistent/qemu: No such file or directory");
}

TEST_F(Qemu, RefusesAWrongMemorySize) {
  auto process = launch_empty();
  const auto ram = qemu::GuestRam::open(process.pid(), 32U << 20);
  ASSERT_FALSE(ram);
  EXPECT_EQ(ram.error().message, "the VM's RAM is 16777216 bytes in QEMU, not 33554432");
}

TEST_F(Qemu, ASystemCallIsRunInItsPlace) {
  auto process = launch_empty();
  for (int i = 0; i < 50; ++i) {
    auto remote = qemu::RemoteSyscalls::attach(process.pid(), kTimeout);
    ASSERT_TRUE(remote) << remote.error().message;
    EXPECT_EQ(remote->call("getpid", SYS_getpid, {}), std::int64_t{process.pid()});
    const auto bad = remote->call("close", SYS_close, {12345, 0, 0});
    ASSERT_FALSE(bad);
    EXPECT_TRUE(contains(bad.error().message, "close in process ")) << bad.error().message;
    EXPECT_TRUE(contains(bad.error().message, "Bad file descriptor")) << bad.error().message;
  }
  const auto status = process.qmp().execute("query-status", {}, kTimeout);
  ASSERT_TRUE(status) << status.error().message;
}

TEST_F(Qemu, DirtyPagesOfADeadProcessAreAnError) {
  auto process = launch_empty();
  auto ram = qemu::GuestRam::open(process.pid(), 16U << 20);
  ASSERT_TRUE(ram) << ram.error().message;
  ASSERT_TRUE(process.kill(kTimeout));
  EXPECT_FALSE(watch(process.pid(), *ram));
}

TEST_F(Qemu, TwoWatchersAreRefused) {
  auto process = launch_empty();
  auto ram = qemu::GuestRam::open(process.pid(), 16U << 20);
  ASSERT_TRUE(ram) << ram.error().message;
  const auto first = watch(process.pid(), *ram);
  ASSERT_TRUE(first) << first.error().message;
  const auto second = watch(process.pid(), *ram);
  ASSERT_FALSE(second);
  EXPECT_TRUE(contains(second.error().message, "cannot watch the VM's RAM")) << second.error().message;
}

using Call = std::function<Result<void>(qemu::QmpClient&)>;

struct NamedCall {
  const char* name;
  const char* command;  ///< the QMP command under way when QEMU dies
  Call call;
};
void PrintTo(const NamedCall& call, std::ostream* out) {
  *out << call.name;
}

template <typename T>
Result<void> forget(Result<T> result) {
  if (!result) return tl::unexpected(result.error());
  return {};
}

class KilledDuring : public Qemu, public ::testing::WithParamInterface<NamedCall> {};

// QEMU is held still with SIGSTOP, so that the call is surely under way when it dies.
TEST_P(KilledDuring, IsAnErrorAtOnce) {
  auto process = launch_empty();
  ASSERT_EQ(::kill(process.pid(), SIGSTOP), 0);
  auto call = std::async(std::launch::async, [&] { return GetParam().call(process.qmp()); });
  EXPECT_EQ(call.wait_for(milliseconds(100)), std::future_status::timeout);
  const auto killed = std::chrono::steady_clock::now();
  ASSERT_EQ(::kill(process.pid(), SIGKILL), 0);
  const auto result = call.get();
  EXPECT_LT(std::chrono::steady_clock::now() - killed, milliseconds(1000));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message,
            std::string("QEMU command ") + GetParam().command + " failed: QEMU closed its monitor");
  EXPECT_TRUE(process.qmp().closed());
}

INSTANTIATE_TEST_SUITE_P(
    EachCall, KilledDuring,
    ::testing::Values(
        NamedCall{"stop", "stop", [](auto& qmp) { return qemu::stop(qmp, kTimeout); }},
        NamedCall{"cont", "cont", [](auto& qmp) { return qemu::cont(qmp, kTimeout); }},
        NamedCall{"probe", "query-commands", [](auto& qmp) { return forget(qemu::probe(qmp)); }},
        NamedCall{"saver", "add-fd", [](auto& qmp) { return forget(qemu::StateSaver::create(qmp, kTimeout)); }},
        NamedCall{"loader", "add-fd", [](auto& qmp) { return forget(qemu::StateLoader::create(qmp, "x", kTimeout)); }}),
    [](const auto& instance) { return instance.param.name; });

TEST_F(Qemu, KilledDuringSaveIsAnError) {
  auto process = launch_empty();
  auto saver = qemu::StateSaver::create(process.qmp(), kTimeout);
  ASSERT_TRUE(saver) << saver.error().message;
  ASSERT_EQ(::kill(process.pid(), SIGSTOP), 0);
  auto call = std::async(std::launch::async, [&] { return forget(saver->save(process.qmp(), kTimeout)); });
  EXPECT_EQ(call.wait_for(milliseconds(100)), std::future_status::timeout);
  ASSERT_EQ(::kill(process.pid(), SIGKILL), 0);
  const auto result = call.get();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "QEMU command xen-save-devices-state failed: QEMU closed its monitor");
}

TEST_F(Qemu, KilledDuringLoadIsAnError) {
  auto process = launch_empty();
  auto saver = qemu::StateSaver::create(process.qmp(), kTimeout);
  auto loader = qemu::StateLoader::create(process.qmp(), qemu::probe(process.qmp())->machine_type, kTimeout);
  ASSERT_TRUE(saver && loader);
  const auto state = saver->save(process.qmp(), kTimeout);
  ASSERT_TRUE(state) << state.error().message;
  ASSERT_EQ(::kill(process.pid(), SIGSTOP), 0);
  auto call = std::async(std::launch::async, [&] { return loader->load(process.qmp(), *state, kTimeout); });
  EXPECT_EQ(call.wait_for(milliseconds(100)), std::future_status::timeout);
  ASSERT_EQ(::kill(process.pid(), SIGKILL), 0);
  const auto result = call.get();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "QEMU command snapshot-load failed: QEMU closed its monitor");
}

TEST_F(Qemu, AHungMonitorIsAnErrorAfterTheTimeout) {
  auto process = launch_empty();
  ASSERT_EQ(::kill(process.pid(), SIGSTOP), 0);
  const auto result = qemu::stop(process.qmp(), milliseconds(200));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "QEMU command stop failed: QEMU did not answer in time");
  ASSERT_EQ(::kill(process.pid(), SIGCONT), 0);
  // The late answer isn't taken for that of the next command.
  const auto status = process.qmp().execute("query-status", {}, kTimeout);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(status->contains("running")) << status->dump();
}

/// A booted guest, stopped, with its device state.
class DeviceState : public Test {
 protected:
  void SetUp() override {
    if (const auto missing = missing_for_guest()) GTEST_SKIP() << *missing;
    auto side = start_side(guest_spec(dir_.path(), tap_, false));
    ASSERT_TRUE(side) << side.error().message;
    side_.emplace(std::move(*side));
    ASSERT_TRUE(wait_tick(dir_.path(), 1, std::chrono::seconds(60))) << "the guest did not boot";
    ASSERT_TRUE(qemu::stop(qmp(), kTimeout));
    auto saver = qemu::StateSaver::create(qmp(), kTimeout);
    ASSERT_TRUE(saver) << saver.error().message;
    const auto state = saver->save(qmp(), kTimeout);
    ASSERT_TRUE(state) << state.error().message;
    state_.assign(state->begin(), state->end());
  }

  qemu::QmpClient& qmp() { return side_->process.qmp(); }

  void expect_runs() {
    const auto tick = last_tick(dir_.path()).value_or(0);
    ASSERT_TRUE(qemu::cont(qmp(), kTimeout));
    EXPECT_TRUE(wait_tick(dir_.path(), tick + 3, std::chrono::seconds(20)))
        << "the guest stands still at tick " << tick;
  }

  TempDir dir_;
  io::UniqueFd tap_ = make_isolated_tap();
  std::optional<Side> side_;
  std::vector<std::byte> state_;
};

TEST_F(DeviceState, DamageIsAnErrorAndAGoodOneLoadsAfterwards) {
  auto loader = qemu::StateLoader::create(qmp(), side_->features.machine_type, kTimeout);
  ASSERT_TRUE(loader) << loader.error().message;
  // After a good load the file holds a whole state, into which a shorter one must not run on.
  const auto first = loader->load(qmp(), state_, kTimeout);
  ASSERT_TRUE(first) << first.error().message;

  auto cut = state_;
  cut.resize(state_.size() / 2);
  EXPECT_FALSE(loader->load(qmp(), cut, kTimeout));
  cut.back() = std::byte{0};  // ends as a state does
  EXPECT_FALSE(loader->load(qmp(), cut, kTimeout));
  auto flipped = state_;
  for (std::size_t i = 64; i < 128; ++i) flipped[i] = ~flipped[i];
  EXPECT_FALSE(loader->load(qmp(), flipped, kTimeout));
  EXPECT_FALSE(loader->load(qmp(), {}, kTimeout));

  const auto good = loader->load(qmp(), state_, kTimeout);
  ASSERT_TRUE(good) << good.error().message;
  expect_runs();
}

TEST_F(DeviceState, AnotherMachineTypeIsRefused) {
  auto loader = qemu::StateLoader::create(qmp(), "pc-i440fx-7.2", kTimeout);
  ASSERT_TRUE(loader) << loader.error().message;
  const auto loaded = loader->load(qmp(), state_, kTimeout);
  ASSERT_FALSE(loaded);
  EXPECT_TRUE(contains(loaded.error().message, "QEMU refused a device state")) << loaded.error().message;
}

/// Every way to tell the guest's writes that this kernel has.
class Tracking : public DeviceState, public ::testing::WithParamInterface<qemu::DirtyTracking> {
 protected:
  void SetUp() override {
    DeviceState::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const auto able = GetParam() == qemu::DirtyTracking::soft_dirty ? qemu::check_kernel_for_soft_dirty()
                                                                    : qemu::check_kernel_for_write_protection();
    if (!able) GTEST_SKIP() << able.error().message;
    side_->dirty.reset();  // two watchers of one kind are refused
    auto dirty = qemu::watch_ram(GetParam(), side_->process.pid(), side_->ram.in_qemu(), false);
    ASSERT_TRUE(dirty) << dirty.error().message;
    side_->dirty = std::move(*dirty);
  }

  std::size_t scanned() {
    found_.clear();
    EXPECT_TRUE(side_->dirty->scan(found_));
    return found_.count();
  }

  memory::PageBitmap found_{kGuestBytes / memory::kPageBytes};
};

TEST_P(Tracking, FindsTheGuestsWritesOnlyAndAllOfThem) {
  ASSERT_TRUE(side_->dirty->arm());
  const auto ram = side_->ram.bytes();
  ram[0] = ram[0];  // through this process's own mapping
  EXPECT_EQ(scanned(), 0U) << "the VM is stopped";
  const std::vector<std::byte> before(ram.begin(), ram.end());
  ASSERT_TRUE(qemu::cont(qmp(), kTimeout));
  std::this_thread::sleep_for(milliseconds(500));
  ASSERT_TRUE(qemu::stop(qmp(), kTimeout));
  memory::PageBitmap seen(found_.pages());
  ASSERT_TRUE(side_->dirty->peek(seen));
  EXPECT_GT(scanned(), 200U) << "the guest writes 2000 pages per second";
  EXPECT_TRUE(seen == found_) << "a look changes nothing";
  for (std::size_t page = 0; page < found_.pages(); ++page) {
    const auto at = page * memory::kPageBytes;
    EXPECT_TRUE(found_.test(page) || std::memcmp(before.data() + at, ram.data() + at, memory::kPageBytes) == 0) << page;
  }
  EXPECT_EQ(scanned(), 0U) << "each write is told once";
}

INSTANTIATE_TEST_SUITE_P(EachKind, Tracking,
                         ::testing::Values(qemu::DirtyTracking::write_protection, qemu::DirtyTracking::soft_dirty),
                         [](const auto& instance) {
                           std::string name = qemu::to_string(instance.param);
                           std::erase(name, '-');  // GoogleTest takes none in a name
                           return name;
                         });

}  // namespace
}  // namespace twinstep::machine_test
