// SPDX-License-Identifier: Apache-2.0
#include "cpu_time.hpp"

#include <sched.h>
#include <time.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace twinstep::bench {
namespace {

namespace fs = std::filesystem;

/// First field of schedstat (kernel: scheduler/sched-stats.rst): ns on a processor.
std::uint64_t on_processor_ns(const fs::path& task) {
  std::uint64_t ns = 0;
  std::ifstream(task / "schedstat") >> ns;
  return ns;
}

std::uint64_t clock_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

std::uint64_t own_cpu_ns() {
  return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

std::uint64_t monotonic_ns() {
  return clock_ns(CLOCK_MONOTONIC);
}

std::uint64_t process_cpu_ns(pid_t process) {
  std::uint64_t sum = 0;
  for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(process) + "/task"))
    sum += on_processor_ns(task.path());
  return sum;
}

std::uint64_t thread_cpu_ns(pid_t thread) {
  return on_processor_ns("/proc/self/task/" + std::to_string(thread));
}

std::uint64_t softirq_threads_cpu_ns() {
  static const auto threads = [] {
    std::vector<fs::path> found;
    for (const auto& process : fs::directory_iterator("/proc")) {
      std::string name;
      std::ifstream(process.path() / "comm") >> name;
      if (name.starts_with("ksoftirqd/")) found.push_back(process.path());
    }
    return found;
  }();
  std::uint64_t sum = 0;
  for (const auto& thread : threads) sum += on_processor_ns(thread);
  return sum;
}

std::vector<pid_t> own_threads() {
  std::vector<pid_t> threads;
  for (const auto& task : fs::directory_iterator("/proc/self/task"))
    threads.push_back(std::stoi(task.path().filename().string()));
  return threads;
}

void pin(pid_t thread, int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(processor), &set);
  ::sched_setaffinity(thread, sizeof(set), &set);
}

}  // namespace twinstep::bench
