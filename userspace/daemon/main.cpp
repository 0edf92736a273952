// SPDX-License-Identifier: Apache-2.0
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "daemon/capabilities.hpp"
#include "daemon/config.hpp"
#include "daemon/daemon.hpp"
#include "daemon/version.hpp"

namespace {

using twinstep::Error;
using twinstep::Result;

/// SIGINT and SIGTERM, blocked in every thread and waited for here: a daemon that ends this way undoes what it set up.
sigset_t block_end_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

Result<void> run(const std::string& config_path) {
  const auto config = twinstep::daemon::load_config(config_path);
  if (!config) return tl::make_unexpected(config.error());
  if (const auto able = twinstep::daemon::check_capabilities(*config); !able) return able;
  const sigset_t end_signals = block_end_signals();
  const auto daemon = twinstep::daemon::Daemon::start(*config);
  if (!daemon) return tl::make_unexpected(daemon.error());
  spdlog::info("twinstepd {} serves host {}", twinstep::daemon::kVersion, config->host.name);
  int received = 0;
  sigwait(&end_signals, &received);
  spdlog::info("ends: signal {}", received);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Keeps QEMU virtual machines running through the loss of this host"};
  std::string config_path = "/etc/twinstep/twinstepd.toml";
  app.add_option("--config", config_path, "Configuration file")->capture_default_str();
  app.set_version_flag("--version", std::string("twinstepd ") + twinstep::daemon::kVersion);
  CLI11_PARSE(app, argc, argv);
  if (const auto done = run(config_path); !done) {
    std::fprintf(stderr, "Error: %s\n", done.error().message.c_str());
    return 1;
  }
  return 0;
}
