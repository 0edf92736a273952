// SPDX-License-Identifier: Apache-2.0
#include "daemon/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace twinstep::daemon {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kGood = R"([host]
name = "a"

[peer]
name = "b"
address = "10.0.0.2"

[link]
device = "eth1"
address = "10.0.0.1"

[arbiter]
type = "file"
path = "/shared/twinstep"

[timing]
heartbeat_ms = 20

[[vm]]
name = "web"
home = "a"
memory = "256M"
qemu_args = ["-kernel", "/boot/vmlinuz"]

[[vm.nic]]
uplink = "eth0"
mac = "52:54:00:12:34:56"
)";

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string error_of(const std::string& text) {
  const auto config = parse_config(text, "t.toml");
  return config ? "accepted" : config.error().message;
}

TEST(Config, ReadsEverythingAndFillsInDefaults) {
  const auto config = parse_config(kGood, "t.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->host.name, "a");
  EXPECT_EQ(config->host.run_dir, "/run/twinstep");
  EXPECT_EQ(config->peer.name, "b");
  EXPECT_EQ(config->peer.address, "10.0.0.2");
  EXPECT_EQ(config->link.device, "eth1");
  EXPECT_EQ(config->link.address, "10.0.0.1");
  EXPECT_EQ(config->link.port, 7600);
  EXPECT_EQ(config->arbiter.path, "/shared/twinstep");
  EXPECT_EQ(config->timing.heartbeat_ns, 20 * kMillisecond);
  EXPECT_EQ(config->timing.peer_timeout_ns, 300 * kMillisecond);
  ASSERT_EQ(config->vms.size(), 1U);
  const auto& vm = config->vms.front();
  EXPECT_EQ(vm.name, "web");
  EXPECT_EQ(vm.home, "a");
  EXPECT_EQ(vm.memory_bytes, 256U << 20);
  ASSERT_EQ(vm.nics.size(), 1U);
  EXPECT_EQ(vm.nics.front().uplink, "eth0");
  EXPECT_THAT(vm.nics.front().mac, ElementsAre(0x52, 0x54, 0, 0x12, 0x34, 0x56));
  EXPECT_EQ(vm.nics.front().model, "virtio-net-pci");
  EXPECT_FALSE(vm.nics.front().vhost_net);
  EXPECT_EQ(vm.nics.front().guest_offloads, io::GuestOffloads::on);
  EXPECT_FALSE(vm.nics.front().busy_poll);
  EXPECT_EQ(vm.qemu, "qemu-system-x86_64");
  EXPECT_THAT(vm.qemu_args, ElementsAre("-kernel", "/boot/vmlinuz"));
  EXPECT_EQ(vm.limits.umem_frames, 16384U);
  EXPECT_EQ(vm.memory_nodes, 1U);
  EXPECT_FALSE(vm.huge_pages);
  EXPECT_EQ(config->memory.epoch_bytes_max, 0U);
  EXPECT_FALSE(config->memory.verify);
  EXPECT_EQ(config->memory.streams, 1U);
}

TEST(Config, ReadsHowAVmsNicIsPolled) {
  auto text = kGood;
  text.replace(text.find("[[vm.nic]]"), 10, "[[vm.nic]]\npoll = \"busy\"");
  const auto config = parse_config(text, "t.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_TRUE(config->vms.front().nics.front().busy_poll);
}

TEST(Config, ReadsLimitsOfAVm) {
  const auto config = parse_config(
      kGood +
          "[vm.limits]\numem_frames = 32768\nheld_frames_max = 100\nflows_max = 300\n"
          "half_open_flows_max = 400\nkernel_flows_max = 450\nsegments_max = 500\nreplay_frames_max = 600\n"
          "inbound_frames_max = 700\n"
          "[memory]\nepoch_bytes_max = \"64M\"\nverify = true\nstreams = 8\n",
      "t.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->vms.front().limits.umem_frames, 32768U);
  EXPECT_EQ(config->vms.front().limits.held_frames_max, 100U);
  EXPECT_EQ(config->vms.front().limits.flows_max, 300U);
  EXPECT_EQ(config->vms.front().limits.half_open_flows_max, 400U);
  EXPECT_EQ(config->vms.front().limits.kernel_flows_max, 450U);
  EXPECT_EQ(config->vms.front().limits.segments_max, 500U);
  EXPECT_EQ(config->vms.front().limits.replay_frames_max, 600U);
  EXPECT_EQ(config->vms.front().limits.inbound_frames_max, 700U);
  EXPECT_EQ(config->memory.epoch_bytes_max, 64U << 20);
  EXPECT_TRUE(config->memory.verify);
  EXPECT_EQ(config->memory.streams, 8U);
}

struct Refusal {
  std::string from;
  std::string to;
  std::string location;  // file, line and key
  std::string remedy;
};

class ConfigRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(ConfigRefusal, NamesFileLineKeyAndRemedy) {
  const auto& [from, to, location, remedy] = GetParam();
  EXPECT_THAT(error_of(replaced(from, to)), AllOf(StartsWith(location), HasSubstr(remedy)));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, ConfigRefusal,
    testing::Values(
        Refusal{"name = \"a\"", "", "t.toml:1: host.name: ", "is missing"},
        Refusal{"name = \"a\"", "name = 7", "t.toml:2: host.name: ", "string"},
        Refusal{"name = \"a\"", "name = \"a/b\"", "t.toml:2: host.name: ", "letters"},
        Refusal{"name = \"a\"", "name = \"b\"", "t.toml:5: peer.name: ", "must differ"},
        Refusal{"name = \"a\"", "name = \"a\"\nrun_dir = \"run\"", "t.toml:3: host.run_dir: ", "absolute"},
        Refusal{"name = \"a\"", "name = \"a\"\ncolour = 1", "t.toml:3: host.colour: ", "name, run_dir"},
        Refusal{"10.0.0.2", "peer.example", "t.toml:6: peer.address: ", "numeric"},
        Refusal{"eth1", "a-name-too-long-for-a-device", "t.toml:9: link.device: ", "15 characters"},
        Refusal{"10.0.0.1", "10.0.0.2", "t.toml:10: link.address: ", "own"},
        Refusal{"\"10.0.0.1\"", "\"10.0.0.1\"\nport = 80", "t.toml:11: link.port: ", "from 1024 to 65535"},
        Refusal{"type = \"file\"", "type = \"etcd\"", "t.toml:13: arbiter.type: ", "\"file\""},
        Refusal{"/shared/", "shared/", "t.toml:14: arbiter.path: ", "absolute"},
        Refusal{"heartbeat_ms = 20", "heartbeat_ms = 0", "t.toml:17: timing.heartbeat_ms: ", "from 1 to 1000"},
        Refusal{"heartbeat_ms = 20", "heartbeat_ms = 1.5", "t.toml:17: timing.heartbeat_ms: ", "whole number"},
        Refusal{"heartbeat_ms = 20", "peer_timeout_ms = 60", "t.toml:17: timing.peer_timeout_ms: ", "three times"},
        Refusal{"home = \"a\"", "home = \"c\"", "t.toml:21: vm.home: ", "\"a\" or \"b\""},
        Refusal{"256M", "256 megabytes", "t.toml:22: vm.memory: ", "\"16M\" to \"1024G\""},
        Refusal{"256M", "15M", "t.toml:22: vm.memory: ", "\"16M\""},
        Refusal{"256M", "262145K", "t.toml:22: vm.memory: ", "whole number of MiB"},
        Refusal{"256M", "18446744073709551615G", "t.toml:22: vm.memory: ", "size"},
        Refusal{"uplink = \"eth0\"", "uplink = \"eth1\"", "t.toml:26: vm.nic.uplink: ", "must differ"},
        Refusal{"52:54", "53:54", "t.toml:27: vm.nic.mac: ", "one device"},
        Refusal{"52:54:00:12:34:56", "52:54:00:12:34", "t.toml:27: vm.nic.mac: ", "52:54:00:12:34:56"},
        Refusal{"52:54:00:12:34:56", "52:54:00:12:34:5g", "t.toml:27: vm.nic.mac: ", "52:54:00:12:34:56"},
        Refusal{"[\"-kernel\", \"/boot/vmlinuz\"]", "\"-kernel\"", "t.toml:23: vm.qemu_args: ", "array"},
        Refusal{"[\"-kernel\", \"/boot/vmlinuz\"]", "[1]", "t.toml:23: vm.qemu_args: ", "array"},
        Refusal{"uplink = \"eth0\"", "uplink = \"eth0\"\nguest_offloads = \"no\"",
                "t.toml:27: vm.nic.guest_offloads: ", "\"on\" or \"off\""},
        Refusal{"uplink = \"eth0\"", "uplink = \"eth0\"\nmodel = \"e1000\"\nvhost_net = true",
                "t.toml:28: vm.nic.vhost_net: ", "virtio-net"},
        Refusal{"uplink = \"eth0\"", "uplink = \"eth0\"\npoll = \"often\"",
                "t.toml:27: vm.nic.poll: ", "\"interrupt\" or \"busy\""},
        Refusal{"uplink = \"eth0\"", "uplink = \"eth0\"\ntap = \"t\"", "t.toml:27: vm.nic.tap: ", "vhost_net"},
        Refusal{"[[vm.nic]]", "[vm.nic]", "t.toml:25: vm.nic: ", "1 to 4 NICs, each in a table [[vm.nic]]"},
        Refusal{"home = \"a\"", "home = \"a\"\nmac = \"52:54:00:12:34:56\"", "t.toml:22: vm.mac: ", "nic"},
        Refusal{"[timing]", "[timings]", "t.toml:16: timings: ", "timing"},
        Refusal{"[[vm]]", "[vm]", "t.toml:19: vm: ", "[[vm]]"},
        Refusal{"[peer]", "[peer", "t.toml:4: ", "not valid TOML"}));

TEST(Config, RefusesTwoVmsOfOneNameOrMac) {
  const auto vm = kGood.substr(kGood.find("[[vm]]"));
  EXPECT_THAT(error_of(kGood + vm), AllOf(StartsWith("t.toml:36: vm.nic.mac: "), HasSubstr("two NICs")));
  auto other = vm;
  other.replace(other.find("12:34:56"), 8, "12:34:57");
  EXPECT_THAT(error_of(kGood + other), AllOf(StartsWith("t.toml:29: vm.name: "), HasSubstr("two VMs")));
}

TEST(Config, ReadsTheNicsOfEachVmInTheirOrder) {
  const std::string second = "[[vm.nic]]\nuplink = \"eth2\"\nmac = \"52:54:00:12:34:57\"\nmodel = \"e1000\"\n";
  auto other = kGood.substr(kGood.find("[[vm]]"));
  other.replace(other.find("web"), 3, "db1");
  other.replace(other.find("12:34:56"), 8, "12:34:58");
  const auto config = parse_config(kGood + second + other, "t.toml");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->vms.size(), 2U);
  const auto& nics = config->vms[0].nics;
  ASSERT_EQ(nics.size(), 2U);
  EXPECT_EQ(nics[0].uplink, "eth0");
  EXPECT_EQ(nics[1].uplink, "eth2");
  EXPECT_EQ(nics[1].mac[5], 0x57);
  EXPECT_EQ(nics[1].model, "e1000");
  ASSERT_EQ(config->vms[1].nics.size(), 1U);
  EXPECT_EQ(config->vms[1].nics[0].mac[5], 0x58);
}

TEST(Config, RefusesTooManyNicsAndTwoOfOneMac) {
  const auto nic = [](char last) {
    return std::string("[[vm.nic]]\nuplink = \"eth0\"\nmac = \"52:54:00:12:34:5") + last + "\"\n";
  };
  EXPECT_THAT(error_of(kGood + nic('6')), AllOf(StartsWith("t.toml:30: vm.nic.mac: "), HasSubstr("two NICs")));
  EXPECT_EQ(error_of(kGood + nic('7') + nic('8') + nic('9')), "accepted");
  EXPECT_THAT(error_of(kGood + nic('7') + nic('8') + nic('9') + nic('a')),
              AllOf(HasSubstr(": vm.nic: "), HasSubstr("1 to 4 NICs")));
  EXPECT_THAT(error_of(kGood.substr(0, kGood.find("[[vm.nic]]"))),
              AllOf(StartsWith("t.toml:19: vm.nic: "), HasSubstr("1 to 4 NICs")));
}

TEST(Config, RefusesLimitsOutOfRange) {
  EXPECT_THAT(error_of(kGood + "[vm.limits]\numem_frames = 5000\n"),
              AllOf(StartsWith("t.toml:29: vm.limits.umem_frames: "), HasSubstr("power of two")));
  EXPECT_THAT(error_of(kGood + "[memory]\nepoch_bytes_max = \"4K\"\n"),
              AllOf(StartsWith("t.toml:29: memory.epoch_bytes_max: "), HasSubstr("\"1M\"")));
  EXPECT_THAT(error_of(kGood + "[memory]\nstreams = 9\n"), StartsWith("t.toml:29: memory.streams: "));
  EXPECT_THAT(error_of(kGood + "[memory]\nverify = 1\n"), StartsWith("t.toml:29: memory.verify: must be true"));
  EXPECT_THAT(error_of(replaced("home = \"a\"", "home = \"a\"\nhuge_pages = true\nmemory_nodes = 3")),
              HasSubstr("a multiple of 6 MiB"));
}

TEST(Config, RefusesNoVmAtAll) {
  EXPECT_THAT(error_of(kGood.substr(0, kGood.find("[[vm]]"))), HasSubstr("[[vm]]"));
}

TEST(Config, NamesAFileThatIsNotThere) {
  const auto config = load_config("/nonexistent/twinstepd.toml");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, AllOf(HasSubstr("/nonexistent/twinstepd.toml"), HasSubstr("--config")));
}

TEST(DefinitionHash, DiffersWithWhatMakesAnotherMachine) {
  const auto vm = parse_config(kGood, "t.toml")->vms.front();
  const auto changed = [&](auto&& change) {
    auto other = vm;
    change(other);
    return definition_hash(other) != definition_hash(vm);
  };
  EXPECT_TRUE(changed([](VmConfig& v) { v.name = "db"; }));
  EXPECT_TRUE(changed([](VmConfig& v) { v.memory_bytes *= 2; }));
  EXPECT_TRUE(changed([](VmConfig& v) { v.nics[0].mac[5] = 1; }));
  EXPECT_TRUE(changed([](VmConfig& v) { v.nics[0].model = "e1000"; }));
  EXPECT_TRUE(changed([](VmConfig& v) { v.nics[0].vhost_net = true; }));
  EXPECT_TRUE(changed([](VmConfig& v) { v.nics.push_back(v.nics[0]); }));
  EXPECT_TRUE(changed([](VmConfig& v) { v.qemu_args.insert(v.qemu_args.end(), {"-device", "virtio-rng-pci"}); }));
}

TEST(DefinitionHash, IsTheSameForAnotherPlaceOnTheHost) {
  const auto vm = parse_config(kGood, "t.toml")->vms.front();
  auto other = vm;
  other.nics[0].uplink = "ens3";
  other.qemu = "/opt/qemu/bin/qemu-system-x86_64";
  other.qemu_args[1] = "/srv/vmlinuz";
  EXPECT_EQ(definition_hash(other), definition_hash(vm));
}

}  // namespace
}  // namespace twinstep::daemon
