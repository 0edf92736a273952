// SPDX-License-Identifier: Apache-2.0
// What the digest costs for each frame, next to copying the frame and to a hash that doesn't compose. Prints JSON.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <stdexcept>
#include <vector>

#include "bpf/abi/twinstep_abi.h"
#include "core/compare/digest.hpp"

// After the ABI header, whose types it uses.
#include <digest_bench.skel.h>

namespace twinstep::bench {
namespace {

constexpr std::size_t kHeaderBytes = 14 + 20 + 20;
constexpr std::array<std::size_t, 4> kPayloads{64, 512, 1448, 8900};
constexpr int kRounds = 15;
constexpr int kRepeats = 20000;
/// XDP's linear buffer in BPF_PROG_TEST_RUN is what is left of a page.
constexpr std::size_t kLinearBytesMax = 3000;

struct Destroy {
  void operator()(digest_bench* skeleton) const { digest_bench::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<digest_bench, Destroy>;

template <typename T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

/// ns for one call.
template <typename Work>
double time_of(Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kRepeats; ++i) work();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  return took.count() / kRepeats;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

class DigestBench {
 public:
  DigestBench() : key_(compare::DigestKey::from_seed(seed())) {
    libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
    skeleton_.reset(digest_bench::open_and_load());
    if (!skeleton_) throw std::runtime_error("cannot load the BPF programs: is this root?");
    const std::uint32_t slot = 0;
    if (bpf_map__update_elem(skeleton_->maps.ts_digest_keys, &slot, sizeof(slot), &key_.table(), sizeof(ts_digest_key),
                             BPF_ANY) != 0)
      throw std::runtime_error("cannot set the digest's key");
  }

  /// All figures of one payload size: medians of rounds in which they alternate.
  nlohmann::json measure(std::size_t payload_bytes) {
    std::vector<std::byte> frame(kHeaderBytes + payload_bytes);
    std::ranges::generate(frame, [this] { return static_cast<std::byte>(random_()); });
    const bool in_kernel = payload_bytes <= TS_DIGEST_BYTES_MAX;
    if (in_kernel) check(frame);

    std::vector<double> digest, copy, xxh64;
    std::vector<std::byte> target(frame.size());
    for (int round = 0; round < kRounds; ++round) {
      digest.push_back(in_kernel ? kernel_digest(frame) : user_digest(frame));
      copy.push_back(time_of([&] {
        std::memcpy(target.data(), frame.data(), frame.size());
        keep(target);
      }));
      xxh64.push_back(time_of([&] { keep(XXH64(frame.data() + kHeaderBytes, payload_bytes, 0)); }));
    }
    return {{"payload_bytes", payload_bytes},
            {"digest_ns", median(digest)},
            {"digest_in", in_kernel ? "xdp" : "user space"},
            {"memcpy_ns", median(copy)},
            {"xxh64_ns", median(xxh64)}};
  }

 private:
  std::span<const std::byte, 16> seed() {
    std::ranges::generate(seed_, [this] { return static_cast<std::byte>(random_()); });
    return seed_;
  }

  /// The program must compute the very digest that user space does.
  void check(std::span<const std::byte> frame) {
    run(skeleton_->progs.bench_digest, frame, 1);
    const auto payload = frame.subspan(kHeaderBytes);
    __u64 acc[TS_DIGEST_LIMBS];
    std::copy_n(skeleton_->bss->result, TS_DIGEST_LIMBS, acc);
    if (key_.reduce(acc) != key_.of(payload)) throw std::runtime_error("XDP and user space digest differently");
  }

  double kernel_digest(std::span<const std::byte> frame) {
    const double empty = run(skeleton_->progs.bench_empty, frame, kRepeats);
    return run(skeleton_->progs.bench_digest, frame, kRepeats) - empty;
  }

  /// Of payloads that one program run doesn't reach (see TS_META_DIGEST_PARTIAL).
  double user_digest(std::span<const std::byte> frame) {
    return time_of([&] { keep(key_.of(frame.subspan(kHeaderBytes))); });
  }

  /// ns for each run.
  double run(const bpf_program* program, std::span<const std::byte> frame, int repeats) {
    skeleton_->bss->payload_offset = kHeaderBytes;
    skeleton_->bss->payload_bytes = static_cast<__u32>(frame.size() - kHeaderBytes);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(std::min(frame.size(), kLinearBytesMax));
    options.repeat = repeats;
    if (bpf_prog_test_run_opts(bpf_program__fd(program), &options) != 0 || options.retval != XDP_PASS)
      throw std::runtime_error(std::string("BPF_PROG_TEST_RUN of ") + bpf_program__name(program) + " failed");
    return options.duration;
  }

  std::mt19937 random_{1};
  std::array<std::byte, 16> seed_{};
  compare::DigestKey key_;
  Skeleton skeleton_;
};

}  // namespace
}  // namespace twinstep::bench

int main() try {
  twinstep::bench::DigestBench bench;
  auto rows = nlohmann::json::array();
  for (const std::size_t bytes : twinstep::bench::kPayloads) rows.push_back(bench.measure(bytes));
  std::cout << rows.dump() << '\n';
  return 0;
} catch (const std::exception& error) {
  std::cerr << "Error: " << error.what() << '\n';
  return 1;
}
