// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>
#include <vector>

#include "cli/dispatch.hpp"
#include "cli/render.hpp"

namespace {

using namespace twinstep;

constexpr int kExitError = 255;

int print_error(const cli::Options& options, const std::string& message) {
  if (options.json) {
    std::cout << cli::render_json({{"error", message}}, options.pretty);
  } else {
    std::cerr << "Error: " << message << '\n';
  }
  return kExitError;
}

int print(const cli::Options& options, const Result<cli::Output>& output) {
  if (!output) return print_error(options, output.error().message);
  if (output->is_help) {
    std::cerr << output->text;
  } else {
    std::cout << (options.json ? cli::render_json(output->json, options.pretty) : output->text);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  cli::Options options;
  bool help = false;
  bool version = false;
  CLI::App app;
  app.set_help_flag();
  app.prefix_command();  // options end where the object begins
  app.add_flag("-h,--help", help);
  app.add_flag("-V,--version", version);
  app.add_flag("-j,--json", options.json);
  app.add_flag("-p,--pretty", options.pretty);
  app.add_flag("-d,--debug", options.debug);
  app.add_flag("-n,--numeric", options.numeric);
  app.add_option("--socket", options.socket);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return print_error(options, error.what());
  }
  options.json = options.json || options.pretty;
  auto words = app.remaining();
  if (help) words = {"help"};
  if (version) words = {"version"};
  if (!words.empty() && words.front().starts_with('-'))
    return print_error(options, "unknown option '" + words.front() + "': see twinstep help");
  return print(options, cli::run(options, words));
}
