// SPDX-License-Identifier: Apache-2.0
// twinstep-lab-client: the client of the lab. Each subcommand prints one JSON object when it ends, also on SIGTERM.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <map>
#include <string>

#include "commands.hpp"
#include "system.hpp"

namespace twinstep::lab {
namespace {

constexpr std::uint64_t kSecondsMax = 86'400;
constexpr std::uint64_t kProbeBytesMin = 8;
constexpr std::uint64_t kProbeBytesMax = 65'000;
constexpr std::uint64_t kLoadBytesMax = 100'000'000;
constexpr std::uint64_t kLoadClientsMax = 64;

const std::map<std::string, LoadKind> kLoadKinds = {
    {"download", LoadKind::download}, {"upload", LoadKind::upload},
    {"requests", LoadKind::requests}, {"persistent", LoadKind::persistent},
    {"udp", LoadKind::udp},           {"opened", LoadKind::opened},
    {"clock", LoadKind::clock}};

struct CommandLine {
  std::string host;
  std::uint16_t http_port = 80;
  std::uint16_t udp_port = 7;
  StreamOptions stream;
  RequestsOptions requests;
  ProbeOptions probe;
  LoadOptions load;
};

void add_common(CLI::App* command, CommandLine& line, std::uint64_t& seconds) {
  command->add_option("--host", line.host, "IPv4 address of the guest")->required();
  command->add_option("--seconds", seconds, "How long to run")->check(CLI::Range(std::uint64_t{1}, kSecondsMax));
}

void add_interval(CLI::App* command, std::uint64_t& interval_ms) {
  command->add_option("--interval-ms", interval_ms, "Time between two of them")->check(CLI::Range(1, 60'000));
}

void add_stream(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("stream", "One long paced download");
  add_common(command, line, line.stream.seconds);
  command->add_option("--port", line.http_port, "Port of the HTTP server");
  command->add_option("--bytes-per-second", line.stream.bytes_per_second, "Pace")->check(CLI::PositiveNumber);
  command->add_option("--seed", line.stream.seed, "Seed of the content");
}

void add_requests(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("requests", "Requests, each on a new connection");
  add_common(command, line, line.requests.seconds);
  command->add_option("--port", line.http_port, "Port of the HTTP server");
  add_interval(command, line.requests.interval_ms);
  command->add_option("--bytes", line.requests.bytes, "Size of each body");
}

CLI::App* add_probe(CLI::App& app, CommandLine& line, const std::string& name, const std::string& text) {
  CLI::App* command = app.add_subcommand(name, text);
  add_common(command, line, line.probe.seconds);
  add_interval(command, line.probe.interval_ms);
  command->add_option("--bytes", line.probe.bytes, "Payload of each datagram")
      ->check(CLI::Range(kProbeBytesMin, kProbeBytesMax));
  return command;
}

void add_load(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("load", "As many operations as the guest manages");
  add_common(command, line, line.load.seconds);
  command->add_option("--kind", line.load.kind, "What an operation is")
      ->required()
      ->transform(CLI::CheckedTransformer(kLoadKinds));
  command->add_option("--interval-ms", line.load.interval_ms, "Least time between two operations of a client")
      ->check(CLI::Range(0, 60'000));
  command->add_option("--clients", line.load.clients, "How many do them at the same time")
      ->check(CLI::Range(std::uint64_t{1}, kLoadClientsMax));
  command->add_option("--bytes", line.load.bytes, "Size of one operation")
      ->check(CLI::Range(kProbeBytesMin, kLoadBytesMax));
}

Result<nlohmann::json> run_command(const std::string& name, CommandLine& line) {
  const bool datagrams = name == "udp" || (name == "load" && line.load.kind == LoadKind::udp);
  const std::uint16_t port = datagrams ? line.udp_port : line.http_port;
  const auto address = parse_address(line.host, port);
  if (!address) return tl::unexpected(address.error());
  line.stream.address = line.requests.address = line.probe.address = line.load.address = *address;
  count_stop_signals();
  if (name == "stream") return run_stream(line.stream);
  if (name == "load") return run_load(line.load);
  if (name == "requests") return run_requests(line.requests);
  line.probe.kind = name == "udp" ? ProbeKind::kUdp : ProbeKind::kIcmp;
  return run_probe(line.probe);
}

int run(int argc, char** argv) {
  CLI::App app{"The client of the lab: checks every byte and every answer of the guest"};
  CommandLine line;
  app.require_subcommand(1);
  add_stream(app, line);
  add_requests(app, line);
  add_load(app, line);
  add_probe(app, line, "ping", "ICMP echo requests");
  add_probe(app, line, "udp", "Datagrams to the UDP echo port")->add_option("--port", line.udp_port, "Port");
  CLI11_PARSE(app, argc, argv);
  const auto report = run_command(app.get_subcommands().front()->get_name(), line);
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
  try {
    return twinstep::lab::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "Error: " << error.what() << '\n';
    return 1;
  }
}
