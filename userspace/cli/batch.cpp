// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "cli/dispatch.hpp"

namespace twinstep::cli {
namespace {

using nlohmann::ordered_json;

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line.substr(0, line.find('#')));
  return {std::istream_iterator<std::string>(stream), {}};
}

}  // namespace

Result<Output> run_batch(const Options& options, const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path);
  std::istream& lines = path == "-" ? std::cin : file;
  if (!lines) return fail("cannot read " + path);
  Output all;
  all.json = ordered_json::array();
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const auto words = words_of(line);
    if (words.empty()) continue;
    const std::string place = path + ":" + std::to_string(number) + ": ";
    // A batch in a batch could call itself for ever.
    if (std::string("batch").starts_with(words.front())) return fail(place + "a batch cannot hold another batch");
    auto output = run(options, words);
    if (!output) return fail(place + output.error().message);
    all.json.push_back({{"command", words}, {"output", output->json}});
    all.text += output->text;
  }
  return all;
}

}  // namespace twinstep::cli
