// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/result.hpp"
#include "core/time.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::daemon {

/// The control socket RUN_DIR/control.sock (mode 0600): one JSON object a line in, one JSON object a line out, in
/// order, as many as the client likes. Each client has a thread of its own, so that one that waits for a failover
/// doesn't keep others out.
class ControlServer {
 public:
  /// Answers a request with {"result": ...} or {"error": "..."}. Called from several threads at once.
  using Handler = std::function<nlohmann::json(const nlohmann::json& request)>;

  struct Limits {
    std::size_t request_bytes_max = std::size_t{64} * 1024;
    std::size_t clients_max = 16;
    Nanos idle_ns_max = 30 * kSecond;  ///< for a client to finish its request, or to take its reply
  };

  /// Makes RUN_DIR if it is missing, and replaces the socket that a dead daemon left. Errors: another daemon serves the
  /// same RUN_DIR (it holds the lock of RUN_DIR/twinstepd.pid), or the directory can't be used.
  static Result<std::unique_ptr<ControlServer>> start(const std::filesystem::path& run_dir, Handler handler,
                                                      Limits limits);
  static Result<std::unique_ptr<ControlServer>> start(const std::filesystem::path& run_dir, Handler handler) {
    return start(run_dir, std::move(handler), Limits{});
  }
  /// Waits for handlers that run, closes all connections, removes the socket. The lock goes last.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Client {
    std::jthread thread;
    std::shared_ptr<std::atomic<bool>> done;
  };

  ControlServer(std::filesystem::path socket_path, Handler handler, Limits limits, io::UniqueFd lock,
                io::UniqueFd listener, io::UniqueFd stop);
  void accept_clients();
  void serve(const io::UniqueFd& socket) const;

  const std::filesystem::path socket_path_;
  const Handler handler_;
  const Limits limits_;
  const io::UniqueFd lock_;
  const io::UniqueFd listener_;
  const io::UniqueFd stop_;    // readable once the server ends
  std::list<Client> clients_;  // touched by thread_ only
  std::jthread thread_;
};

}  // namespace twinstep::daemon
