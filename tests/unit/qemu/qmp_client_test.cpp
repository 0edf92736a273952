// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/qmp/client.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <thread>

namespace twinstep::qemu {
namespace {

constexpr Milliseconds kTimeout{3000};
constexpr const char* kGreeting = R"({"QMP": {"version": {}, "capabilities": []}})";

/// The other end of a monitor's socket, played by the test.
class Monitor {
 public:
  explicit Monitor(int fd) : fd_(fd) {}

  void say(const std::string& line) const {
    const std::string text = line + "\r\n";
    if (::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) throw std::runtime_error("monitor cannot write");
  }
  /// The next command; a descriptor that came with it is in received_fd().
  Json hear() {
    while (buffer_.find('\n') == std::string::npos) receive();
    const auto end = buffer_.find('\n');
    auto command = Json::parse(buffer_.substr(0, end));
    buffer_.erase(0, end + 1);
    return command;
  }
  void answer(const Json& command, const Json& result) const {
    say(Json{{"return", result}, {"id", command["id"]}}.dump());
  }
  void event(const std::string& name, const Json& data) const { say(Json{{"event", name}, {"data", data}}.dump()); }
  void close() { fd_.reset(); }
  const io::UniqueFd& received_fd() const { return received_; }

 private:
  void receive() {
    std::array<char, 4096> block{};
    iovec piece{block.data(), block.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
    if (got <= 0) throw std::runtime_error("the client closed");
    buffer_.append(block.data(), static_cast<std::size_t>(got));
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
      received_.reset(fd);
    }
  }

  io::UniqueFd fd_;
  io::UniqueFd received_;
  std::string buffer_;
};

/// A client, connected to a monitor that follows `script` in a thread of its own after the negotiation.
class Session {
 public:
  explicit Session(std::function<void(Monitor&)> script) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) throw std::runtime_error("socketpair");
    thread_ = std::thread([fd = ends[1], play = std::move(script)] {
      Monitor monitor(fd);
      monitor.say(kGreeting);
      const auto command = monitor.hear();
      EXPECT_EQ(command["execute"], "qmp_capabilities");
      monitor.answer(command, Json::object());
      play(monitor);
    });
    auto connected = QmpClient::adopt(io::UniqueFd(ends[0]), kTimeout);
    if (!connected) throw std::runtime_error(connected.error().message);
    client.emplace(std::move(*connected));
  }
  ~Session() { thread_.join(); }

  std::optional<QmpClient> client;

 private:
  std::thread thread_;
};

bool any(const QmpEvent& /*event*/) {
  return true;
}

TEST(QmpClient, ReturnsTheResult) {
  Session session([](Monitor& monitor) {
    const auto command = monitor.hear();
    EXPECT_EQ(command["execute"], "query-status");
    EXPECT_EQ(command["arguments"]["x"], 1);
    monitor.answer(command, {{"running", true}});
  });
  const auto result = session.client->execute("query-status", {{"x", 1}}, kTimeout);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ((*result)["running"], true);
}

TEST(QmpClient, AnErrorNamesCommandAndReason) {
  Session session([](Monitor& monitor) {
    const auto command = monitor.hear();
    monitor.say(Json{{"error", {{"class", "GenericError"}, {"desc", "no such node"}}}, {"id", command["id"]}}.dump());
  });
  const auto result = session.client->execute("blockdev-del", {}, kTimeout);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "QEMU command blockdev-del failed: no such node");
}

TEST(QmpClient, PassesADescriptor) {
  const io::UniqueFd file(::memfd_create("passed", MFD_CLOEXEC));
  Session session([&](Monitor& monitor) {
    const auto command = monitor.hear();
    struct stat sent {};
    struct stat received {};
    EXPECT_EQ(::fstat(file.get(), &sent), 0);
    EXPECT_EQ(::fstat(monitor.received_fd().get(), &received), 0);
    EXPECT_EQ(sent.st_ino, received.st_ino);
    monitor.answer(command, {{"fdset-id", 3}});
  });
  EXPECT_TRUE(session.client->execute("add-fd", {}, kTimeout, file.get()));
}

TEST(QmpClient, KeepsEventsThatCameBeforeTheAnswer) {
  Session session([](Monitor& monitor) {
    const auto command = monitor.hear();
    monitor.event("STOP", Json::object());
    monitor.event("JOB_STATUS_CHANGE", {{"id", "other"}});
    monitor.event("JOB_STATUS_CHANGE", {{"id", "mine"}});
    monitor.answer(command, Json::object());
  });
  ASSERT_TRUE(session.client->execute("x", {}, kTimeout));
  const auto event = session.client->wait_event(
      "JOB_STATUS_CHANGE", [](const QmpEvent& e) { return e.data["id"] == "mine"; }, kTimeout);
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_TRUE(session.client->wait_event("STOP", any, kTimeout));
}

TEST(QmpClient, DropsTheOldestEventBeyondTheBound) {
  Session session([](Monitor& monitor) {
    const auto command = monitor.hear();
    for (std::size_t i = 0; i <= QmpClient::kEventsMax; ++i) monitor.event("E", {{"n", i}});
    monitor.answer(command, Json::object());
  });
  ASSERT_TRUE(session.client->execute("x", {}, kTimeout));
  const auto event = session.client->wait_event("E", any, kTimeout);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->data["n"], 1);
}

TEST(QmpClient, AMissingEventIsAnErrorInTime) {
  Session session([](Monitor& monitor) { EXPECT_THROW(monitor.hear(), std::runtime_error); });
  const auto event = session.client->wait_event("RESET", any, Milliseconds(30));
  ASSERT_FALSE(event);
  EXPECT_EQ(event.error().message, "no event RESET from QEMU: QEMU did not answer in time");
  session.client.reset();
}

TEST(QmpClient, ALateAnswerIsNotTheNextCommands) {
  Session session([](Monitor& monitor) {
    const auto first = monitor.hear();
    const auto second = monitor.hear();
    monitor.answer(first, "late");
    monitor.answer(second, "right");
  });
  EXPECT_FALSE(session.client->execute("slow", {}, Milliseconds(30)));
  const auto result = session.client->execute("quick", {}, kTimeout);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(*result, "right");
}

TEST(QmpClient, TheEndOfQemuIsAnErrorOfItsOwn) {
  Session session([](Monitor& monitor) {
    monitor.hear();
    monitor.close();
  });
  EXPECT_FALSE(session.client->closed());
  const auto result = session.client->execute("cont", {}, kTimeout);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "QEMU command cont failed: QEMU closed its monitor");
  EXPECT_TRUE(session.client->closed());
  EXPECT_FALSE(session.client->execute("cont", {}, kTimeout));
  EXPECT_FALSE(session.client->wait_event("STOP", any, kTimeout));
}

TEST(QmpClient, NonsenseIsAnError) {
  Session session([](Monitor& monitor) {
    monitor.hear();
    monitor.say("[] nonsense");
  });
  const auto result = session.client->execute("cont", {}, kTimeout);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "QEMU command cont failed: QEMU's monitor sent something that is no JSON object");
}

TEST(QmpClient, ReassemblesSplitMessages) {
  const std::string filler(200'000, 'x');
  Session session([&](Monitor& monitor) { monitor.answer(monitor.hear(), filler); });
  const auto result = session.client->execute("long", {}, kTimeout);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(*result, filler);
}

TEST(QmpClient, WhatIsNotQemuIsRefused) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Monitor other(ends[1]);
  other.say(R"({"hello": 1})");
  const auto client = QmpClient::adopt(io::UniqueFd(ends[0]), kTimeout);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().message, "what listens on the monitor's socket is not QEMU");
}

TEST(QmpClient, ConnectGivesUpInTime) {
  const auto client = QmpClient::connect("/nonexistent/qmp.sock", Milliseconds(30));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().message,
            "cannot connect to QEMU's monitor /nonexistent/qmp.sock: No such file or directory");
  const auto too_long = QmpClient::connect("/" + std::string(120, 'p'), kTimeout);
  ASSERT_FALSE(too_long);
  EXPECT_NE(too_long.error().message.find("choose a shorter run directory"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::qemu
