// SPDX-License-Identifier: Apache-2.0
#include "daemon/control.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <future>
#include <latch>
#include <string>

namespace twinstep::daemon {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

json echo(const json& request) {
  return {{"result", request}};
}

/// One connection of an operator's tool.
class Client {
 public:
  explicit Client(const fs::path& path) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.native().size());
    connected_ = ::connect(socket_.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address) == 0;
  }
  bool connected() const { return connected_; }
  void say(const std::string& text) { ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL); }
  /// The next line; "closed" when the server ended the connection, "nothing" after 3 s.
  std::string line() {
    for (;;) {
      if (const auto end = pending_.find('\n'); end != std::string::npos) {
        const auto text = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return text;
      }
      pollfd fd{socket_.get(), POLLIN, 0};
      if (::poll(&fd, 1, 3000) <= 0) return "nothing";
      char buffer[1024];
      const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
      if (got <= 0) return "closed";
      pending_.append(buffer, static_cast<std::size_t>(got));
    }
  }

 private:
  io::UniqueFd socket_;
  bool connected_ = false;
  std::string pending_;
};

class ControlServerTest : public testing::Test {
 protected:
  ControlServerTest() {
    std::string name = (fs::temp_directory_path() / "ts-control-XXXXXX").string();
    parent_ = ::mkdtemp(name.data());
    run_dir_ = parent_ / "run";
  }
  ~ControlServerTest() override {
    server_.reset();
    fs::remove_all(parent_);
  }
  void start(ControlServer::Handler handler, ControlServer::Limits limits = {}) {
    auto server = ControlServer::start(run_dir_, std::move(handler), limits);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  fs::path socket_path() const { return run_dir_ / "control.sock"; }

  fs::path parent_;
  fs::path run_dir_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, AnswersRequestsInOrder) {
  start(echo);
  Client client(socket_path());
  client.say("{\"n\":1}\n{\"n\":");
  EXPECT_EQ(client.line(), R"({"result":{"n":1}})");
  client.say("2}\n");
  EXPECT_EQ(client.line(), R"({"result":{"n":2}})");
}

TEST_F(ControlServerTest, IsForItsOwnerOnly) {
  start(echo);
  struct stat status {};
  ASSERT_EQ(::stat(socket_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(ControlServerTest, AnswersWhatIsNoRequestWithAnErrorAndGoesOn) {
  start([](const json& request) { return json{{"result", request.at("n").get<int>()}}; });
  Client client(socket_path());
  client.say("nonsense\n[1]\n{\"n\":\"text\"}\n{\"n\":3}\n");
  EXPECT_THAT(client.line(), HasSubstr("one JSON object"));
  EXPECT_THAT(client.line(), HasSubstr("one JSON object"));
  EXPECT_THAT(client.line(), AllOf(HasSubstr("error"), HasSubstr("not as expected")));
  EXPECT_EQ(client.line(), R"({"result":3})");
}

TEST_F(ControlServerTest, ServesOthersWhileOneWaits) {
  std::latch released(1);
  start([&](const json& request) {
    if (request.contains("wait")) released.wait();
    return echo(request);
  });
  Client waiting(socket_path());
  waiting.say("{\"wait\":true}\n");
  Client other(socket_path());
  other.say("{\"n\":1}\n");
  EXPECT_EQ(other.line(), R"({"result":{"n":1}})");
  released.count_down();
  EXPECT_EQ(waiting.line(), R"({"result":{"wait":true}})");
}

TEST_F(ControlServerTest, RefusesARequestThatIsTooLong) {
  start(echo, {.request_bytes_max = 1000});
  Client client(socket_path());
  client.say(std::string(2000, 'x'));
  EXPECT_THAT(client.line(), HasSubstr("too long"));
  EXPECT_EQ(client.line(), "closed");
}

TEST_F(ControlServerTest, RefusesMoreClientsThanItsLimitAndTakesThemLater) {
  start(echo, {.clients_max = 1});
  {
    Client first(socket_path());
    first.say("{}\n");
    EXPECT_EQ(first.line(), R"({"result":{}})");
    Client second(socket_path());
    EXPECT_THAT(second.line(), HasSubstr("too many clients"));
  }
  std::string answer;
  for (int attempt = 0; attempt < 100 && answer != R"({"result":{}})"; ++attempt) {
    Client third(socket_path());
    third.say("{}\n");
    answer = third.line();
  }
  EXPECT_EQ(answer, R"({"result":{}})");
}

TEST_F(ControlServerTest, EndsAClientThatSaysNothing) {
  start(echo, {.idle_ns_max = 100 * kMillisecond});
  Client client(socket_path());
  client.say("{\"half\":");
  EXPECT_EQ(client.line(), "closed");
}

TEST_F(ControlServerTest, EndsWithClientsConnected) {
  start(echo);
  Client client(socket_path());
  client.say("{}\n");
  EXPECT_EQ(client.line(), R"({"result":{}})");
  server_.reset();
  EXPECT_EQ(client.line(), "closed");
  EXPECT_FALSE(fs::exists(socket_path()));
}

TEST_F(ControlServerTest, KeepsASecondDaemonOut) {
  start(echo);
  const auto second = ControlServer::start(run_dir_, echo);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("another twinstepd (pid " + std::to_string(::getpid()) + ") serves"));
  Client client(socket_path());
  client.say("{}\n");
  EXPECT_EQ(client.line(), R"({"result":{}})") << "the first one still serves";
}

TEST_F(ControlServerTest, ReplacesWhatADeadDaemonLeft) {
  start(echo);
  // A dead daemon's leavings: the files without the lock.
  const fs::path old = parent_ / "old";
  fs::create_directory(old);
  const io::UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto path = (old / "control.sock").string();
  std::memcpy(address.sun_path, path.c_str(), path.size());
  ASSERT_EQ(::bind(dead.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address), 0);
  const auto server = ControlServer::start(old, echo);
  ASSERT_TRUE(server) << server.error().message;
  Client client(path);
  client.say("{}\n");
  EXPECT_EQ(client.line(), R"({"result":{}})");
}

TEST_F(ControlServerTest, RefusesAPathTooLongForASocket) {
  const auto server = ControlServer::start(parent_ / std::string(120, 'd'), echo);
  ASSERT_FALSE(server);
  EXPECT_THAT(server.error().message, HasSubstr("shorter host.run_dir"));
}

}  // namespace
}  // namespace twinstep::daemon
