// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "qemu-glue/launch/vm_spec.hpp"

namespace twinstep::qemu {
namespace {

VmSpec make_spec(std::vector<std::string> args) {
  VmSpec spec;
  spec.name = "web";
  spec.args = std::move(args);
  spec.memory_bytes = 256U << 20;
  spec.nics.push_back({17, "52:54:00:00:00:01"});
  spec.run_dir = "/run/twinstep/web";
  return spec;
}

bool has_pair(const std::vector<std::string>& args, const std::string& option, const std::string& value) {
  for (std::size_t i = 0; i + 1 < args.size(); ++i) {
    if (args[i] == option && args[i + 1] == value) return true;
  }
  return false;
}

TEST(CommandLine, TellsAVirtioGuestAnotherMtu) {
  VmSpec spec = make_spec({});
  spec.nics.front().mtu_bytes = 3000;
  EXPECT_TRUE(has_pair(*command_line(spec), "-device",
                       "virtio-net-pci,netdev=twinstep-nic0,mac=52:54:00:00:00:01,host_mtu=3000,ctrl_vlan=off"));
  spec.nics.front().device = "e1000";
  EXPECT_TRUE(has_pair(*command_line(spec), "-device", "e1000,netdev=twinstep-nic0,mac=52:54:00:00:00:01"));
}

TEST(CommandLine, AddsWhatProtectionNeeds) {
  const auto args = command_line(make_spec({"-cpu", "max", "-kernel", "vmlinuz"}));
  ASSERT_TRUE(args) << args.error().message;
  EXPECT_EQ(args->front(), "qemu-system-x86_64");
  EXPECT_TRUE(has_pair(*args, "-object", "memory-backend-memfd,id=twinstep-ram,size=268435456,share=on"));
  EXPECT_TRUE(has_pair(*args, "-machine", "q35,memory-backend=twinstep-ram"));
  EXPECT_TRUE(has_pair(*args, "-m", "256M"));
  EXPECT_TRUE(has_pair(*args, "-netdev", "tap,id=twinstep-nic0,fd=17"));
  EXPECT_TRUE(has_pair(*args, "-device", "virtio-net-pci,netdev=twinstep-nic0,mac=52:54:00:00:00:01,ctrl_vlan=off"));
  EXPECT_TRUE(has_pair(*args, "-qmp", "unix:/run/twinstep/web/qmp.sock,server=on,wait=off"));
  EXPECT_TRUE(has_pair(*args, "-action", "reboot=reset"));
  EXPECT_TRUE(has_pair(*args, "-cpu", "max"));
  EXPECT_TRUE(has_pair(*args, "-kernel", "vmlinuz"));
  EXPECT_EQ(std::count(args->begin(), args->end(), "-S"), 0);
}

TEST(CommandLine, GivesTheNicToTheKernelWithVhost) {
  auto spec = make_spec({});
  spec.nics.front().vhost = true;
  EXPECT_TRUE(has_pair(*command_line(spec), "-netdev", "tap,id=twinstep-nic0,fd=17,vhost=on,vhostforce=on"));
}

TEST(CommandLine, NodesPartTheMemory) {
  auto spec = make_spec({});
  spec.memory_nodes = 2;
  spec.huge_pages = true;
  const auto args = command_line(spec);
  ASSERT_TRUE(args) << args.error().message;
  for (const std::string node : {"0", "1"}) {
    EXPECT_TRUE(
        has_pair(*args, "-object",
                 "memory-backend-memfd,id=twinstep-ram" + node + ",size=134217728,share=on,hugetlb=on,hugetlbsize=2M"));
    EXPECT_TRUE(has_pair(*args, "-numa", "node,nodeid=" + node + ",memdev=twinstep-ram" + node));
  }
  EXPECT_TRUE(has_pair(*args, "-machine", "q35"));
  spec.memory_nodes = 3;
  EXPECT_FALSE(command_line(spec)) << "256 MiB in three";
}

TEST(CommandLine, ASecondaryStartsPaused) {
  auto spec = make_spec({});
  spec.paused = true;
  const auto args = command_line(spec);
  ASSERT_TRUE(args);
  EXPECT_EQ(std::count(args->begin(), args->end(), "-S"), 1);
}

TEST(CommandLine, KeepsTheUsersMachine) {
  for (const char* option : {"-machine", "--machine", "-M"}) {
    const auto args = command_line(make_spec({option, "pc,accel=tcg"}));
    ASSERT_TRUE(args) << args.error().message;
    EXPECT_TRUE(has_pair(*args, "-machine", "pc,accel=tcg,memory-backend=twinstep-ram"));
    EXPECT_EQ(std::count(args->begin(), args->end(), "pc,accel=tcg"), 0);
  }
}

struct BadArgs {
  std::vector<std::string> args;
  const char* message;
};

class Refused : public ::testing::TestWithParam<BadArgs> {};

TEST_P(Refused, NamesTheArgument) {
  const auto args = command_line(make_spec(GetParam().args));
  ASSERT_FALSE(args);
  EXPECT_NE(args.error().message.find(GetParam().message), std::string::npos) << args.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Args, Refused,
    ::testing::Values(BadArgs{{"-no-reboot"}, "-no-reboot can't be used: loading a checkpoint resets the machine"},
                      BadArgs{{"--no-reboot"}, "--no-reboot can't be used"},
                      BadArgs{{"-action", "panic=none,reboot=shutdown"}, "reboot=shutdown can't be used"},
                      BadArgs{{"-m", "1G"}, "-m 1G can't be used: Twinstep lays out the VM's memory itself"},
                      BadArgs{{"-mem-path", "/x"}, "-mem-path /x can't be used"},
                      BadArgs{{"-object", "memory-backend-ram,id=r,size=1G"}, "-object memory-backend-ram"},
                      BadArgs{{"-machine", "q35,memory-backend=r"}, "q35,memory-backend=r can't be used"},
                      BadArgs{{"-machine", "q35", "-M", "pc"}, "a machine is given already"},
                      BadArgs{{"-machine"}, "-machine lacks its value"},
                      BadArgs{{"-qmp", "unix:/run/twinstep/web/qmp.sock,server"}, "this socket is Twinstep's own"},
                      BadArgs{{"-chardev", "socket,id=c,path=/run/twinstep/web/qmp.sock"},
                              "this socket is Twinstep's own"},
                      BadArgs{{"-vga", "std"}, "-vga std can't be used: a display adapter's memory"},
                      BadArgs{{"-device", "VGA"}, "a display adapter's memory"},
                      BadArgs{{"-device", "qxl-vga,id=v"}, "a display adapter's memory"},
                      BadArgs{{"-incoming", "tcp:0:1"}, "Twinstep loads the VM's state itself"},
                      BadArgs{{"-loadvm", "x"}, "Twinstep loads the VM's state itself"},
                      BadArgs{{"-S"}, "-S can't be used"}, BadArgs{{"-snapshot"}, "-snapshot can't be used"},
                      BadArgs{{"-nic", "user"}, "Twinstep makes the VM's NICs itself"},
                      BadArgs{{"-netdev", "user,id=n"}, "Twinstep makes the VM's NICs itself"},
                      BadArgs{{"-drive", "file=d.qcow2,if=virtio"}, "writable disks are not replicated yet"},
                      BadArgs{{"-hda", "d.qcow2"}, "writable disks are not replicated yet"},
                      BadArgs{{"-device", "vfio-pci,host=1"}, "a passed-through device's state"},
                      BadArgs{{"-daemonize"}, "Twinstep starts and watches QEMU's process itself"}));

TEST(CommandLine, TakesHarmlessArguments) {
  const std::vector<std::vector<std::string>> harmless{{"-vga", "none"},
                                                       {"-display", "none"},
                                                       {"-serial", "file:/tmp/serial"},
                                                       {"-smp", "2"},
                                                       {"-action", "panic=shutdown"},
                                                       {"-drive", "file=cd.iso,media=cdrom,if=ide"},
                                                       {"-append", "-S 1 -m"},
                                                       {"-qmp", "unix:/run/other.sock,server=on,wait=off"},
                                                       {"-object", "rng-random,id=r"}};
  for (const auto& args : harmless) {
    const auto line = command_line(make_spec(args));
    EXPECT_TRUE(line) << args[1] << ": " << line.error().message;
  }
}

TEST(CommandLine, RefusesABadDefinition) {
  auto spec = make_spec({});
  spec.memory_bytes = (1U << 20) + 1;
  EXPECT_NE(command_line(spec).error().message.find("whole number of MiB"), std::string::npos);
  spec = make_spec({});
  spec.name = "a,b";
  EXPECT_NE(command_line(spec).error().message.find("a VM's name"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::qemu
