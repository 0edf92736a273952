// SPDX-License-Identifier: Apache-2.0
//
// The simulator. Without arguments it runs the test suite. With them it runs seeds and says what it found:
//   twinstep-sim --seeds N [--start S]    N seeds from S on
//   twinstep-sim --seed S [--trace]       one seed, with its history
// Exit status: 0 no invariant was broken, 1 one was, 2 wrong arguments.
#include <gtest/gtest.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>

#include "report.hpp"
#include "world.hpp"

namespace {

using twinstep::sim::Outcome;
using twinstep::sim::Planted;

struct Arguments {
  std::uint64_t start = 1;
  std::uint64_t seeds = 0;  // 0: the test suite
  bool trace = false;
  bool wrong = false;
};

bool read_number(std::string_view text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

Arguments read_arguments(int count, char** values) {
  Arguments arguments;
  for (int index = 1; index < count; ++index) {
    const std::string_view name = values[index];
    std::uint64_t number = 0;
    if (name == "--trace") {
      arguments.trace = true;
    } else if (index + 1 < count && read_number(values[index + 1], number)) {
      ++index;
      if (name == "--seeds") {
        arguments.seeds = number;
      } else if (name == "--start") {
        arguments.start = number;
      } else if (name == "--seed") {
        arguments.start = number;
        arguments.seeds = 1;
      } else {
        arguments.wrong = true;
      }
    } else {
      arguments.wrong = true;
    }
  }
  return arguments;
}

int run_seeds(const Arguments& arguments) {
  std::map<std::string, std::uint64_t, std::less<>> marks;
  int broken = 0;
  for (std::uint64_t seed = arguments.start; seed < arguments.start + arguments.seeds; ++seed) {
    const Outcome outcome = twinstep::sim::run_seed(seed, Planted::nothing, arguments.trace);
    for (const std::string& mark : outcome.marks) ++marks[mark];
    if (!outcome.violation) continue;
    broken = 1;
    std::printf("%s\n", twinstep::sim::describe(seed, *outcome.violation).c_str());
  }
  for (const auto& [mark, seeds] : marks)
    std::printf("%8llu seeds: %s\n", static_cast<unsigned long long>(seeds), mark.c_str());
  return broken;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const Arguments arguments = read_arguments(argc, argv);
  if (arguments.wrong) {
    std::fprintf(stderr, "Error: usage: twinstep-sim [--seeds N] [--start S] | --seed S [--trace]\n");
    return 2;
  }
  return arguments.seeds == 0 ? RUN_ALL_TESTS() : run_seeds(arguments);
}
