// SPDX-License-Identifier: Apache-2.0
// twinstep-lab-lossy: makes ports of the lab lossy until it is told to stop, then prints what it did as one JSON
// object.
#include <bpf/libbpf.h>
#include <net/if.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "delay_line.hpp"
#include "io/os_error.hpp"
#include "tests/lab/client/system.hpp"
#include "tests/lab/lossy/lossy.h"

// After the header whose types it uses.
#include <twinstep_lossy.skel.h>

namespace twinstep::lab {
namespace {

struct Options {
  std::vector<std::string> ports;
  std::uint64_t seed = 1;
  double drop_percent = 1;
  double duplicate_percent = 1;
  double delay_percent = 1;
};

struct Destroy {
  void operator()(twinstep_lossy* skeleton) const { twinstep_lossy::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<twinstep_lossy, Destroy>;

std::uint32_t draws(double percent) {
  return static_cast<std::uint32_t>(percent * LOSSY_DRAWS / 100);
}

Result<Skeleton> load(const Options& options) {
  Skeleton skeleton(twinstep_lossy::open());
  if (!skeleton) return io::fail_os("cannot open the lossy program");
  skeleton->rodata->seed = options.seed;
  skeleton->rodata->drop = draws(options.drop_percent);
  skeleton->rodata->duplicate = draws(options.duplicate_percent);
  skeleton->rodata->delay = draws(options.delay_percent);
  if (twinstep_lossy::load(skeleton.get()) != 0) return io::fail_os("cannot load the lossy program");
  return skeleton;
}

/// The hook stays on the device, which goes with the lab.
Result<void> attach(const twinstep_lossy& skeleton, const std::string& port, unsigned delay_device) {
  const unsigned ifindex = ::if_nametoindex(port.c_str());
  LIBBPF_OPTS(bpf_tc_hook, hook);
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = BPF_TC_EGRESS;
  LIBBPF_OPTS(bpf_tc_opts, program);
  program.prog_fd = bpf_program__fd(skeleton.progs.lossy);
  if (bpf_map__update_elem(skeleton.maps.delay_devices, &ifindex, sizeof(ifindex), &delay_device, sizeof(delay_device),
                           BPF_ANY) != 0 ||
      bpf_tc_hook_create(&hook) != 0 || bpf_tc_attach(&hook, &program) != 0)
    return io::fail_os("cannot make " + port + " lossy");
  return {};
}

Result<nlohmann::json> run(const Options& options) {
  auto skeleton = load(options);
  if (!skeleton) return tl::unexpected(skeleton.error());
  DelayLine line(options.seed);
  for (const auto& port : options.ports) {
    const auto device = line.add_port(port);
    if (!device) return tl::unexpected(device.error());
    if (const auto attached = attach(**skeleton, port, *device); !attached) return tl::unexpected(attached.error());
  }
  count_stop_signals();
  std::cout << "ready" << std::endl;
  line.run([] { return stop_requests() > 0; });
  const lossy_counters& counters = (*skeleton)->bss->counters;
  return nlohmann::json{{"seed", options.seed},
                        {"frames", counters.frames},
                        {"dropped", counters.dropped + line.frames_lost()},
                        {"duplicated", counters.duplicated},
                        {"delayed", counters.delayed}};
}

int main(int argc, char** argv) {
  CLI::App app{"Makes ports of the lab lossy"};
  Options options;
  app.add_option("ports", options.ports, "Devices whose egress loses, doubles and reorders frames")
      ->required()
      ->expected(1, LOSSY_PORTS_MAX);
  app.add_option("--seed", options.seed, "Which frames those are");
  const CLI::Range percent(0.0, 30.0);
  app.add_option("--drop-percent", options.drop_percent)->check(percent);
  app.add_option("--duplicate-percent", options.duplicate_percent)->check(percent);
  app.add_option("--delay-percent", options.delay_percent)->check(percent);
  CLI11_PARSE(app, argc, argv);
  const auto report = run(options);
  if (!report) {
    std::cerr << "Error: " << report.error().message << '\n';
    return 1;
  }
  std::cout << report->dump() << std::endl;
  return 0;
}

}  // namespace
}  // namespace twinstep::lab

int main(int argc, char** argv) {
  return twinstep::lab::main(argc, argv);
}
