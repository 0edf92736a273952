// SPDX-License-Identifier: Apache-2.0
// One row of the comparison benchmark: Twinstep's packet plane, or QEMU's colo-compare, under the same twin streams.
// Prints JSON.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cpu_time.hpp"
#include "generator.hpp"
#include "peer.hpp"
#include "plane_lab.hpp"

namespace twinstep::bench {
namespace {

using nlohmann::json;

constexpr int kGeneratorProcessor = 0;
constexpr std::uint64_t kWarmUpNs = 300'000'000;
/// Of the SVM's numbers behind the PVM's: about the clocks' lag.
constexpr std::uint32_t kSvmLag = 1'000'000;
constexpr std::uint64_t kPaceNs = 200'000;  // 5000 packets per second

struct Options {
  std::string of = "plane";
  std::string protocol = "tcp";
  std::string qemu = "qemu-system-x86_64";
  Traffic traffic;
  double svm_first = 0.57;
  double seconds = 1.5;
  std::size_t lent_flows_max = 2048;
};

std::uint64_t ns_of(double seconds) {
  return static_cast<std::uint64_t>(seconds * 1e9);
}

double per_packet_us(std::uint64_t ns, std::uint64_t packets) {
  return static_cast<double>(ns) / static_cast<double>(packets) / 1000;
}

double rate(const Pushed& pushed) {
  return static_cast<double>(pushed.packets) * 1e9 / static_cast<double>(pushed.wall_ns);
}

/// us; nearest rank.
json percentiles(const std::vector<std::uint64_t>& ranked_ns) {
  if (ranked_ns.empty()) return nullptr;
  const auto at = [&](double share) {
    const auto rank = static_cast<std::size_t>(share * static_cast<double>(ranked_ns.size()));
    return static_cast<double>(ranked_ns[std::min(rank, ranked_ns.size() - 1)]) / 1000;
  };
  return {{"p50", at(0.5)}, {"p99", at(0.99)}};
}

/// `of`: by which twin came first.
json latency(std::vector<std::uint64_t> svm_first, std::vector<std::uint64_t> pvm_first) {
  std::ranges::sort(svm_first);
  std::ranges::sort(pvm_first);
  std::vector<std::uint64_t> all(svm_first.size() + pvm_first.size());
  std::ranges::merge(svm_first, pvm_first, all.begin());
  return {{"all", percentiles(all)}, {"svm_first", percentiles(svm_first)}, {"pvm_first", percentiles(pvm_first)}};
}

std::vector<std::uint64_t> times_of(const __u32 (&histogram)[BENCH_BUCKETS]) {
  std::vector<std::uint64_t> times;
  for (std::uint64_t bucket = 0; bucket < BENCH_BUCKETS; ++bucket)
    times.insert(times.end(), histogram[bucket], (bucket + 1) * BENCH_BUCKET_NS);
  return times;
}

void open_all(Generator& generator, PlaneLab& lab) {
  const std::size_t opened = generator.open(lab);
  const std::uint64_t until = monotonic_ns() + 3'000'000'000;
  while (lab.others() < opened)
    if (monotonic_ns() > until) throw std::runtime_error("the connections did not open");
}

double generator_alone_us(const Options& options) {
  DropLab lab(options.traffic.protocol);
  Generator generator(options.traffic, options.svm_first, kSvmLag);
  generator.saturate(lab, kWarmUpNs);
  const Pushed pushed = generator.saturate(lab, ns_of(options.seconds / 2));
  return per_packet_us(pushed.generator_ns, pushed.packets);
}

json measure_plane(const Options& options) {
  PlaneLab lab(options.traffic.protocol, options.lent_flows_max);
  pin(0, kGeneratorProcessor);
  const double alone_us = generator_alone_us(options);
  Generator generator(options.traffic, options.svm_first, kSvmLag);
  open_all(generator, lab);
  generator.saturate(lab, kWarmUpNs);

  const auto before = lab.primary();
  const auto& stats_before = before.compare;
  const std::uint64_t link_before = lab.link_bytes();
  const std::uint64_t cpu_before = lab.cpu_ns();
  const Pushed pushed = generator.saturate(lab, ns_of(options.seconds));
  const std::uint64_t cpu_ns = lab.cpu_ns() - cpu_before;
  const std::uint64_t link_bytes = lab.link_bytes() - link_before;
  const auto after = lab.primary();
  const auto& stats = after.compare;

  auto& results = lab.client().results();
  results.timing = 1;
  const Pushed paced = generator.pace(lab, ns_of(options.seconds), kPaceNs);
  results.timing = 0;
  lab.check();

  const double threads_us = per_packet_us(cpu_ns, pushed.packets);
  const double in_generator_us = per_packet_us(pushed.generator_ns, pushed.packets) - alone_us;
  const auto in_kernel = [](const daemon::PlaneStats& at) {
    return at.xdp.count[TS_COUNT_TAP_MATCHED] + at.xdp.count[TS_COUNT_TAP_TWIN];
  };
  const double matched =
      static_cast<double>(in_kernel(after) - in_kernel(before)) / static_cast<double>(pushed.packets);
  const double output_bytes =
      static_cast<double>(pushed.packets) *
      static_cast<double>(FrameMaker::payload_offset(options.traffic.protocol) + options.traffic.payload_bytes);
  return {{"cpu_us_per_packet", threads_us + in_generator_us},
          {"cpu_us_threads", threads_us},
          {"cpu_us_in_generator", in_generator_us},
          {"generator_alone_us", alone_us},
          {"saturated_pps", rate(pushed)},
          {"packets", pushed.packets + paced.packets},
          {"released_in_kernel", matched},
          {"released_on_arrival",
           static_cast<double>(stats.frames_released_on_arrival - stats_before.frames_released_on_arrival) /
               static_cast<double>(pushed.packets)},
          {"link_bytes_per_output_byte", static_cast<double>(link_bytes) / output_bytes},
          {"latency_us", latency(times_of(results.latency[0]), times_of(results.latency[1]))}};
}

json measure_peer(const Options& options) {
  Peer peer(options.qemu, options.traffic.protocol);
  pin(0, kGeneratorProcessor);
  // colo-compare knows no difference of numbers: in QEMU another filter removes it on the secondary.
  // Of several waiting datagrams it looks at the latest only, and asks for a checkpoint if that one's twin isn't there
  // yet. So it gets its best case, the SVM's datagrams first.
  const bool datagrams = options.traffic.protocol == Protocol::udp;
  Generator generator(options.traffic, datagrams ? 1 : options.svm_first, 0);
  generator.open(peer);
  generator.saturate(peer, kWarmUpNs);
  const std::uint64_t cpu_before = peer.cpu_ns();
  const Pushed pushed = generator.saturate(peer, ns_of(options.seconds));
  const std::uint64_t cpu_ns = peer.cpu_ns() - cpu_before;
  peer.set_timing(true);
  generator.pace(peer, ns_of(options.seconds), kPaceNs);
  return {{"cpu_us_per_packet", per_packet_us(cpu_ns, pushed.packets)},
          {"saturated_pps", rate(pushed)},
          {"latency_us", latency(peer.latencies(0), peer.latencies(1))}};
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("One row of the comparison benchmark");
  app.add_option("--of", options.of)->check(CLI::IsMember({"plane", "peer"}));
  app.add_option("--protocol", options.protocol)->check(CLI::IsMember({"tcp", "udp"}));
  app.add_option("--payload", options.traffic.payload_bytes)->check(CLI::Range(16, 1448));
  app.add_option("--flows", options.traffic.flows)->check(CLI::Range(1, 10000));
  app.add_option("--svm-first", options.svm_first)->check(CLI::Range(0.0, 1.0));
  app.add_option("--lent-flows-max", options.lent_flows_max, "0: nothing is matched in the kernel");
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 60.0));
  app.add_option("--qemu", options.qemu);
  CLI11_PARSE(app, argc, argv);
  options.traffic.protocol = options.protocol == "tcp" ? Protocol::tcp : Protocol::udp;
  std::cout << (options.of == "plane" ? measure_plane(options) : measure_peer(options)).dump() << '\n';
  return 0;
}

}  // namespace
}  // namespace twinstep::bench

int main(int argc, char** argv) try { return twinstep::bench::run(argc, argv); } catch (const std::exception& error) {
  std::cerr << "Error: " << error.what() << '\n';
  return 1;
}
