// SPDX-License-Identifier: Apache-2.0
#include "plane_lab.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "cpu_time.hpp"
#include "frame_maker.hpp"
#include "io/unique_fd.hpp"
#include "stale_namespaces.hpp"

// After the ABI header, whose types it uses.
#include <compare_bench.skel.h>

namespace twinstep::bench {
namespace {

constexpr std::uint16_t kVmId = 1;
constexpr io::MacAddress kVmMac{0x52, 0x54, 0, 0, 0, 1};
/// Of the namespaces' names.
constexpr const char* kPrefix = "ts-bench";
constexpr int kPlaneProcessor = 1;
constexpr unsigned kMtu = 1500;
constexpr std::uint32_t kUmemFrames = 16384;

void run(const std::string& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

template <typename T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

/// A network namespace is a thread's.
void on_own_thread(const std::function<void()>& work) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

int attach(const bpf_program* program, const std::string& device) {
  LIBBPF_OPTS(bpf_link_create_opts, options);
  options.flags = XDP_FLAGS_DRV_MODE;
  const int link =
      bpf_link_create(bpf_program__fd(program), static_cast<int>(::if_nametoindex(device.c_str())), BPF_XDP, &options);
  if (link < 0) throw std::runtime_error("cannot attach to " + device);
  return link;
}

void write_all(int fd, std::span<const std::byte> frame) {
  if (::write(fd, frame.data(), frame.size()) != static_cast<ssize_t>(frame.size()))
    throw std::runtime_error("a tap takes no frame");
}

}  // namespace

ClientPrograms::ClientPrograms(Protocol protocol) : skeleton_(compare_bench::open()) {
  if (skeleton_ == nullptr) throw std::runtime_error("cannot open the benchmark's programs");
  skeleton_->rodata->number_offset = static_cast<__u32>(FrameMaker::payload_offset(protocol));
  if (compare_bench::load(skeleton_) != 0) throw std::runtime_error("cannot load the benchmark's programs");
}

ClientPrograms::~ClientPrograms() {
  for (const int link : links_) ::close(link);
  compare_bench::destroy(skeleton_);
}

void ClientPrograms::attach_client(const std::string& device) {
  links_.push_back(attach(skeleton_->progs.bench_client, device));
}

void ClientPrograms::attach_drop(const std::string& device) {
  links_.push_back(attach(skeleton_->progs.bench_drop, device));
}

bench_results& ClientPrograms::results() {
  return skeleton_->bss->results;
}

std::uint64_t* ClientPrograms::sent_ns() {
  return reinterpret_cast<std::uint64_t*>(skeleton_->bss->sent_ns);
}

PlaneLab::PlaneLab(Protocol protocol, std::size_t lent_flows_max)
    : prefix_(std::string(kPrefix) + std::to_string(::getpid())), lent_flows_max_(lent_flows_max), client_(protocol) {
  test::remove_stale_namespaces(kPrefix);
  build();
  const auto before = own_threads();
  start('a', a_);
  start('b', b_);
  for (const pid_t thread : own_threads()) {
    if (std::ranges::find(before, thread) != before.end()) continue;
    plane_threads_.push_back(thread);
    pin(thread, kPlaneProcessor);
  }
  pair();
}

PlaneLab::~PlaneLab() {
  a_.plane.reset();
  b_.plane.reset();
  for (const char host : {'a', 'b', 'c'})
    if (std::system(("ip netns del " + name(host) + " 2>/dev/null").c_str()) != 0) continue;
}

void PlaneLab::build() {
  for (const char host : {'a', 'b', 'c'}) {
    run("ip netns add " + name(host));
    run("ip netns exec " + name(host) +
        " sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
  }
  run("ip -n " + name('a') + " link add link0 mtu 1600 type veth peer name link0 mtu 1600 netns " + name('b'));
  for (const char host : {'a', 'b'}) {
    run("ip -n " + name(host) + " link add uplink0 type veth peer name client-" + host + " netns " + name('c'));
    run("ip -n " + name(host) + " link set uplink0 up");
    run("ip -n " + name(host) + " link set link0 up");
    run("ip -n " + name('c') + " link set client-" + host + " up");
  }
  in('c', [this] {
    client_.attach_client("client-a");
    client_.attach_client("client-b");
  });
}

void PlaneLab::in(char host, const std::function<void()>& work) const {
  on_own_thread([&] {
    const io::UniqueFd ns(::open(("/run/netns/" + name(host)).c_str(), O_RDONLY | O_CLOEXEC));
    if (::setns(ns.get(), CLONE_NEWNET) != 0) throw std::runtime_error("cannot enter " + name(host));
    work();
  });
}

void PlaneLab::start(char name, Host& host) {
  in(name, [&] {
    host.tap.emplace(value_of(io::Tap::create("tap", kMtu, io::GuestOffloads::off)));
    host.link_mac = value_of(io::device_mac("link0"));
    host.fabric = value_of(daemon::Fabric::create("link0", {{"uplink0", kVmMac, kUmemFrames}}));
    daemon::PlaneConfig config;
    config.uplink = "uplink0";
    config.vm_mac = kVmMac;
    config.vm_id = kVmId;
    config.limits.lent_flows_max = lent_flows_max_;
    host.plane = value_of(daemon::Plane::create(
        config, *host.fabric, *host.tap, [this](std::uint32_t /*epoch*/, const compare::Diverged& diverged) {
          const std::lock_guard lock(mutex_);
          diverged_ = std::string(compare::to_string(diverged.cause)) + ": " + diverged.detail;
        }));
  });
}

/// Protected, with an empty first checkpoint.
void PlaneLab::pair() {
  constexpr std::array<std::byte, 16> kSeed{std::byte{7}, std::byte{11}, std::byte{13}};
  const auto key = compare::DigestKey::from_seed(kSeed);
  if (!a_.plane->pair(key, kVmId, b_.link_mac) || !b_.plane->pair(key, kVmId, a_.link_mac))
    throw std::runtime_error("the planes can't be paired");
  a_.plane->set_hold(20 * kSecond);
  a_.plane->direct();
  b_.plane->standby();
  if (!b_.plane->standby_stop(1)) throw std::runtime_error("the secondary's epoch does not end");
  const auto bases = a_.plane->begin_epoch(1);
  a_.plane->resume_input();
  a_.plane->commit(1);
  b_.plane->standby_begin(1, bases);
  a_.plane->svm_running(1);
}

void PlaneLab::pvm(std::span<const std::byte> frame) {
  write_all(a_.tap->fd(), frame);
}

void PlaneLab::svm(std::span<const std::byte> frame) {
  write_all(b_.tap->fd(), frame);
}

std::uint64_t PlaneLab::released() {
  return __atomic_load_n(&client_.results().packets, __ATOMIC_RELAXED);
}

std::uint64_t PlaneLab::others() {
  return __atomic_load_n(&client_.results().others, __ATOMIC_RELAXED);
}

void PlaneLab::stamp(std::uint32_t number, std::uint64_t now_ns) {
  client_.sent_ns()[number % BENCH_NUMBERS] = now_ns;
}

std::uint64_t PlaneLab::cpu_ns() const {
  std::uint64_t sum = softirq_threads_cpu_ns();
  for (const pid_t thread : plane_threads_) sum += thread_cpu_ns(thread);
  return sum;
}

std::uint64_t PlaneLab::link_bytes() const {
  std::uint64_t bytes = 0;
  in('a', [&bytes] {
    // As the device itself counts them, in a namespace's own view of sysfs.
    FILE* file = ::popen("ip -s -j link show dev link0 | grep -o '\"rx\":{\"bytes\":[0-9]*' | grep -o '[0-9]*$'", "r");
    if (file == nullptr || std::fscanf(file, "%lu", &bytes) != 1) bytes = 0;
    if (file != nullptr) ::pclose(file);
  });
  return bytes;
}

void PlaneLab::check() const {
  const std::lock_guard lock(mutex_);
  if (!diverged_.empty()) throw std::runtime_error("the planes disagreed: " + diverged_);
}

DropLab::DropLab(Protocol protocol) : client_(protocol) {
  on_own_thread([this] {
    if (::unshare(CLONE_NEWNET) != 0) throw std::runtime_error("cannot make a network namespace");
    pvm_.emplace(value_of(io::Tap::create("pvm", kMtu, io::GuestOffloads::off)));
    svm_.emplace(value_of(io::Tap::create("svm", kMtu, io::GuestOffloads::off)));
    client_.attach_drop("pvm");
    client_.attach_drop("svm");
  });
}

void DropLab::pvm(std::span<const std::byte> frame) {
  write_all(pvm_->fd(), frame);
  ++released_;
}

void DropLab::svm(std::span<const std::byte> frame) {
  write_all(svm_->fd(), frame);
}

}  // namespace twinstep::bench
