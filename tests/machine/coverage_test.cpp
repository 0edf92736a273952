// SPDX-License-Identifier: Apache-2.0
// What is in a running machine: devices that checkpoints carry are accepted, all else is refused by its name.
#include "qemu-glue/devices/coverage.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "qemu-glue/state/device_state.hpp"
#include "qemu-glue/state/run_state.hpp"
#include "vm_fixture.hpp"

namespace twinstep::machine_test {
namespace {

using qemu::Json;
using ::testing::Test;
using ::testing::TestWithParam;
using ::testing::Values;

/// Devices that were checkpointed many times with a guest that used them.
std::vector<std::string> covered_devices(const std::string& machine, const std::filesystem::path& disk) {
  const std::string file = "file=" + disk.string() + ",format=raw,readonly=on,if=none,id=";
  std::vector<std::string> args{"-machine", machine,
                                "-smp",     "8,maxcpus=8",
                                "-drive",   file + "disk0",
                                "-drive",   file + "disk1,media=cdrom",
                                "-drive",   file + "disk2,media=cdrom",
                                "-device",  "virtio-blk-pci,drive=disk0",
                                "-device",  "ahci,id=sata",
                                "-device",  "ide-cd,drive=disk1,bus=sata.0",
                                "-device",  machine == "pc" ? "ide-cd,drive=disk2" : "ide-cd,drive=disk2,bus=ide.0",
                                "-device",  "virtio-rng-pci",
                                "-device",  "virtio-balloon-pci,id=balloon",
                                "-device",  machine == "pc" ? "piix3-usb-uhci,id=usb1" : "ich9-usb-uhci1,id=usb1",
                                "-device",  "usb-tablet,bus=usb1.0",
                                "-device",  "qemu-xhci,id=usb2",
                                "-device",  "usb-tablet,bus=usb2.0",
                                "-device",  "i6300esb"};
  return args;
}

/// Models of NICs that were checkpointed so.
const std::vector<std::string> kCoveredNics = {"virtio-net-pci", "e1000", "e1000e", "rtl8139"};

/// NICs of the VM, and the taps that must be open until QEMU has started.
std::vector<io::UniqueFd> add_nics(qemu::VmSpec& spec, const std::vector<std::string>& models) {
  std::vector<io::UniqueFd> taps;
  for (const auto& model : models) {
    taps.push_back(make_isolated_tap());
    spec.nics.push_back(
        {.tap_fd = taps.back().get(), .mac = "52:54:00:12:34:0" + std::to_string(taps.size()), .device = model});
  }
  return taps;
}

class Coverage : public Test {
 protected:
  void SetUp() override {
    if (const auto missing = missing_for_qemu()) GTEST_SKIP() << *missing;
  }

  std::filesystem::path make_disk() const {
    const auto path = dir_.path() / "disk.raw";
    std::ofstream(path, std::ios::binary) << std::string(1U << 20, 'x');
    return path;
  }

  qemu::QemuProcess launch(std::vector<std::string> args, const std::vector<std::string>& nics = {}) {
    auto spec = empty_spec(dir_.path());
    spec.args.insert(spec.args.end(), args.begin(), args.end());
    memory_bytes_ = spec.memory_bytes;
    const auto taps = add_nics(spec, nics);
    nics_ = nics.size();
    auto process = qemu::launch(spec, kTimeout);
    if (!process) throw std::runtime_error(process.error().message);
    return std::move(*process);
  }

  static void execute(qemu::QemuProcess& process, const std::string& command, const Json& arguments) {
    const auto done = process.qmp().execute(command, arguments, kTimeout);
    ASSERT_TRUE(done) << done.error().message;
  }

  /// What the check says; empty: the machine is covered.
  std::string refusal(qemu::QemuProcess& process) const {
    const auto checked = qemu::check_coverage(process.qmp(), memory_bytes_, nics_);
    return checked ? "" : checked.error().message;
  }

  TempDir dir_;
  std::uint64_t memory_bytes_ = 0;
  std::size_t nics_ = 0;
};

TEST_F(Coverage, AcceptsTheCoveredDevicesOnEachMachine) {
  for (const char* machine : {"pc", "q35"}) {
    auto process = launch(covered_devices(machine, make_disk()), kCoveredNics);
    EXPECT_EQ(refusal(process), "") << machine;
  }
}

TEST_F(Coverage, RefusesMoreCpusThanWereTried) {
  auto process = launch({"-smp", "9"});
  EXPECT_NE(refusal(process).find("9 CPUs"), std::string::npos) << refusal(process);
}

TEST_F(Coverage, RefusesADiskThatIsWritable) {
  auto process = launch({"-machine", "pc", "-device", "qemu-xhci,id=usb"});
  execute(process, "blockdev-add", {{"node-name", "late"}, {"driver", "file"}, {"filename", make_disk().string()}});
  execute(process, "device_add", {{"driver", "usb-storage"}, {"id", "stick"}, {"bus", "usb.0"}, {"drive", "late"}});
  EXPECT_NE(refusal(process).find("stick"), std::string::npos) << refusal(process);
  EXPECT_NE(refusal(process).find("writable disk"), std::string::npos) << refusal(process);
}

TEST_F(Coverage, TellsWhatQemuItselfSaysAgainstIt) {
  auto process = launch({});
  execute(process, "blockdev-add",
          {{"node-name", "fat"}, {"driver", "vvfat"}, {"dir", dir_.path().string()}, {"rw", true}});
  EXPECT_NE(refusal(process).find("does not support live migration"), std::string::npos) << refusal(process);
}

TEST_F(Coverage, RefusesANicThatTheConfigurationLacks) {
  auto process = launch({"-machine", "pc", "-device", "e1000"}, {"virtio-net-pci"});
  EXPECT_NE(refusal(process).find("e1000 (/machine/peripheral-anon/"), std::string::npos) << refusal(process);
  EXPECT_NE(refusal(process).find("give the VM a [[vm.nic]] for it"), std::string::npos) << refusal(process);
}

TEST_F(Coverage, RefusesToDoWithoutANicOfTheConfiguration) {
  auto process = launch({}, {"virtio-net-pci", "e1000"});
  EXPECT_EQ(refusal(process), "");
  nics_ = 3;
  EXPECT_NE(refusal(process).find("QEMU lacks the NIC twinstep-nic2"), std::string::npos) << refusal(process);
}

struct Plugged {
  const char* name;
  Json device;
  const char* reason;  // a part of it
};

class PluggedDevice : public Coverage, public ::testing::WithParamInterface<Plugged> {};

/// Devices that come after the start: no argument tells of them.
TEST_P(PluggedDevice, IsRefusedByItsName) {
  auto process = launch({"-machine", "pc", "-device", "qemu-xhci,id=usb", "-device", "virtio-scsi-pci,id=scsi"});
  ASSERT_EQ(refusal(process), "");
  execute(process, "object-add", {{"qom-type", "memory-backend-memfd"}, {"id", "shared"}, {"size", 1U << 20}});
  execute(process, "device_add", GetParam().device);
  const auto said = refusal(process);
  EXPECT_NE(said.find(GetParam().device["driver"].get<std::string>()), std::string::npos) << said;
  EXPECT_NE(said.find(GetParam().reason), std::string::npos) << said;
}

INSTANTIATE_TEST_SUITE_P(
    Devices, PluggedDevice,
    Values(
        Plugged{"HostUsb", {{"driver", "usb-host"}, {"bus", "usb.0"}, {"vendorid", 0x1234}}, "the host's own device"},
        Plugged{"VgaMemory", {{"driver", "secondary-vga"}, {"bus", "pci.0"}}, "outside the VM's RAM"},
        Plugged{"Bochs", {{"driver", "bochs-display"}, {"bus", "pci.0"}}, "outside the VM's RAM"},
        Plugged{"Nic", {{"driver", "e1000"}, {"bus", "pci.0"}}, "the configuration doesn't have"},
        Plugged{"SharedMemory",
                {{"driver", "ivshmem-plain"}, {"bus", "pci.0"}, {"memdev", "shared"}},
                "shared with other VMs"}),
    [](const auto& plugged) { return std::string(plugged.param.name); });

/// Beside the guest's own, which is virtio-net.
const std::vector<std::string> kMoreNics = {"e1000", "e1000e", "rtl8139"};

/// A guest with the covered devices and some CPUs, and its twin: saved and loaded over and over, the twin lives on.
class CoveredGuest : public Coverage, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    if (const auto missing = missing_for_guest()) GTEST_SKIP() << *missing;
  }

  Side start(const TempDir& dir, const io::UniqueFd& tap, bool paused) const {
    auto spec = guest_spec(dir.path(), tap, paused);
    const auto devices = covered_devices(GetParam(), make_disk());
    spec.args.insert(spec.args.end(), devices.begin(), devices.end());
    const auto taps = add_nics(spec, kMoreNics);
    auto side = start_side(spec);
    if (!side) throw std::runtime_error(side.error().message);
    return std::move(*side);
  }
};

TEST_P(CoveredGuest, OutlivesCheckpointsWithEightCpus) {
  constexpr int kRounds = 5;
  const TempDir pvm_dir;
  const TempDir svm_dir;
  const auto pvm_tap = make_isolated_tap();
  const auto svm_tap = make_isolated_tap();
  auto pvm = start(pvm_dir, pvm_tap, false);
  auto svm = start(svm_dir, svm_tap, true);
  auto saver = qemu::StateSaver::create(pvm.process.qmp(), kTimeout);
  auto loader = qemu::StateLoader::create(svm.process.qmp(), pvm.features.machine_type, kTimeout);
  ASSERT_TRUE(saver && loader);
  ASSERT_TRUE(wait_tick(pvm.run_dir, 1, std::chrono::seconds(90))) << "the guest did not boot";
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_TRUE(qemu::stop(svm.process.qmp(), kTimeout));
    ASSERT_TRUE(qemu::stop(pvm.process.qmp(), kTimeout));
    const auto state = saver->save(pvm.process.qmp(), kTimeout);
    ASSERT_TRUE(state) << state.error().message;
    std::memcpy(svm.ram.bytes().data(), pvm.ram.bytes().data(), kGuestBytes);
    ASSERT_TRUE(qemu::cont(pvm.process.qmp(), kTimeout));
    const auto loaded = loader->load(svm.process.qmp(), *state, kTimeout);
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_TRUE(qemu::cont(svm.process.qmp(), kTimeout));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  ASSERT_EQ(::kill(pvm.process.pid(), SIGKILL), 0);
  const auto tick = last_tick(svm.run_dir).value_or(0);
  EXPECT_TRUE(wait_tick(svm.run_dir, tick + 2, std::chrono::seconds(30))) << "the twin stands still at tick " << tick;
}

/// The guest's balloon driver gives memory back, and then takes it again.
TEST_P(CoveredGuest, IsRefusedWhileItsBalloonIsInflated) {
  const TempDir dir;
  const auto tap = make_isolated_tap();
  auto side = start(dir, tap, false);
  ASSERT_TRUE(wait_tick(side.run_dir, 1, std::chrono::seconds(90))) << "the guest did not boot";
  const auto check = [&] { return qemu::check_coverage(side.process.qmp(), kGuestBytes, 1 + kMoreNics.size()); };
  ASSERT_TRUE(check()) << check().error().message;
  const auto inflate_to = [&](std::uint64_t bytes, bool refused) {
    execute(side.process, "balloon", {{"value", bytes}});
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (check().has_value() == refused && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return check().has_value() != refused;
  };
  ASSERT_TRUE(inflate_to(kGuestBytes / 2, true)) << "the balloon did not inflate";
  EXPECT_NE(check().error().message.find("virtio-balloon"), std::string::npos) << check().error().message;
  EXPECT_TRUE(inflate_to(kGuestBytes, false)) << check().error().message;
}

INSTANTIATE_TEST_SUITE_P(Machines, CoveredGuest, Values("pc", "q35"),
                         [](const auto& machine) { return std::string(machine.param); });

}  // namespace
}  // namespace twinstep::machine_test
