// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a real pair of QEMUs whose guests write a known set of pages in each epoch.
// checkpoint RAM_MIB CODEC CHECKPOINTS PEER_CHECKPOINTS PAGES...: one JSON line for each PAGES, with the measured
// values of each checkpoint. CODEC: "by-rule", as the product does it, or "none": pages are never compressed.
// TWINSTEP_GUEST_DIR: the guest (tests/lab/guest/build DIR).
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include "pair.hpp"

namespace twinstep::machine_test {
namespace {

using nlohmann::json;

constexpr int kWarmUp = 3;
constexpr std::chrono::seconds kBootTimeout{60};

std::filesystem::path load_socket(const std::filesystem::path& run_dir) {
  return run_dir / "load.sock";
}

/// The second serial port of a guest, by which the load is told what to write (tests/lab/guest/epochs.c).
class Load {
 public:
  explicit Load(const std::filesystem::path& run_dir) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    load_socket(run_dir).string().copy(address.sun_path, sizeof(address.sun_path) - 1);
    const timeval timeout{30, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
      throw std::runtime_error("cannot reach the guest's second serial port");
  }

  void tell(std::uint64_t pages, int tag) {
    const std::string line = std::to_string(pages) + " " + std::to_string(tag) + "\n";
    if (::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
      throw std::runtime_error("the guest's second serial port is gone");
  }

  /// Waits until the guest has written, and returns how many pages.
  std::uint64_t wait_done() {
    std::string line;
    for (char c = 0; c != '\n'; line += c) {
      if (::recv(socket_.get(), &c, 1, 0) != 1) throw std::runtime_error("the guest's load doesn't answer");
    }
    if (!line.starts_with("done ")) throw std::runtime_error("the guest's load said: " + line);
    return std::strtoull(line.c_str() + 5, nullptr, 10);
  }

 private:
  io::UniqueFd socket_;
};

json entry(const Measured& measured) {
  return {{"stop_ns", measured.stop_ns},         {"save_ns", measured.save_ns},
          {"scan_ns", measured.scan_ns},         {"copy_ns", measured.copy_ns},
          {"cont_ns", measured.cont_ns},         {"pause_ns", measured.pause_ns},
          {"prestage_ns", measured.prestage_ns}, {"commit_ns", measured.commit_ns},
          {"apply_ns", measured.apply_ns},       {"svm_stopped_ns", measured.svm_stopped_ns},
          {"pages_dirty", measured.pages_dirty}, {"pages_copied", measured.pages_copied},
          {"pages_sent", measured.sent.pages},   {"bytes_sent", measured.sent.bytes}};
}

class Bench {
 public:
  Bench(std::uint64_t ram_bytes, const checkpoint::PackRule& rule)
      : pair_(
            [ram_bytes](const std::filesystem::path& run_dir, const io::UniqueFd& tap, bool paused) {
              auto spec = guest_spec(run_dir, tap, paused, 0);
              spec.memory_bytes = ram_bytes;
              spec.args.insert(spec.args.end(),
                               {"-chardev", "socket,id=load,server=on,wait=off,path=" + load_socket(run_dir).string(),
                                "-serial", "chardev:load"});
              return spec;
            },
            ram_bytes, rule),
        pvm_load_(pair_.pvm().run_dir),
        svm_load_(pair_.svm().run_dir) {
    if (!wait_tick(pair_.pvm().run_dir, 2, kBootTimeout)) throw std::runtime_error("the guest did not boot");
    pair_.live_sync();
    pair_.checkpoint("");
  }

  json row(std::uint64_t pages, int checkpoints, int peer_checkpoints) {
    json shown{{"load_pages_written", json::array()}, {"own", json::array()}, {"peer", json::array()}};
    for (int i = 0; i < kWarmUp; ++i) {
      write(pages);
      pair_.checkpoint("");
    }
    for (int i = 0; i < checkpoints; ++i) {
      shown["load_pages_written"].push_back(write(pages));
      shown["own"].push_back(entry(pair_.checkpoint("")));
    }
    shown["page_codec"] = pair_.packs() ? "lz4" : "none";
    for (int i = 0; i < peer_checkpoints; ++i) {
      write(pages);
      shown["peer"].push_back(entry(pair_.peer_checkpoint()));
    }
    return shown;
  }

 private:
  /// An epoch: both guests write, three quarters of it alike.
  std::uint64_t write(std::uint64_t pages) {
    pvm_load_.tell(pages, 1);
    svm_load_.tell(pages, 2);
    const auto written = pvm_load_.wait_done();
    if (svm_load_.wait_done() != written) throw std::runtime_error("the two guests wrote different sets");
    return written;
  }

  Pair pair_;
  Load pvm_load_;
  Load svm_load_;
};

}  // namespace
}  // namespace twinstep::machine_test

int main(int argc, char** argv) {
  using namespace twinstep::machine_test;
  const std::string codec = argc > 5 ? argv[2] : "";
  if (codec != "by-rule" && codec != "none") {
    std::cerr << "usage: " << argv[0] << " RAM_MIB by-rule|none CHECKPOINTS PEER_CHECKPOINTS PAGES...\n";
    return 2;
  }
  try {
    if (const auto missing = missing_for_guest()) throw std::runtime_error(*missing);
    using twinstep::checkpoint::PackRule;
    Bench bench(std::strtoull(argv[1], nullptr, 10) << 20, codec == "none" ? PackRule(0) : PackRule());
    for (int i = 5; i < argc; ++i) {
      std::cout << bench.row(std::strtoull(argv[i], nullptr, 10), std::atoi(argv[3]), std::atoi(argv[4])) << std::endl;
    }
  } catch (const std::exception& error) {
    std::cerr << "Error: " << error.what() << "\n";
    return 1;
  }
}
