// SPDX-License-Identifier: Apache-2.0
#include "io/arbiter_file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "io/unique_fd.hpp"

namespace twinstep::io {
namespace {

using failover::ArbiterReply;
using failover::Record;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

constexpr Nanos kTimeout = 2 * kSecond;

class FileArbiterTest : public testing::Test {
 protected:
  FileArbiterTest() {
    std::string name = (fs::temp_directory_path() / "ts-arbiter-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
    arbiter_ = open();
  }
  ~FileArbiterTest() override { fs::remove_all(directory_); }

  std::unique_ptr<FileArbiter> open() {
    return FileArbiter::open(directory_, [this](const std::string& why) { reports_.push_back(why); }).value();
  }
  void write(const std::string& text) { std::ofstream(directory_ / "web.json") << text; }

  fs::path directory_;
  std::vector<std::string> reports_;
  std::unique_ptr<FileArbiter> arbiter_;
};

const Record kFirst{1, "a", ""};
const Record kProtected{2, "a", "b"};
const Record kPromoted{3, "b", ""};

void expect_reply(const ArbiterReply& reply, ArbiterReply::Status status, const std::optional<Record>& record) {
  EXPECT_EQ(static_cast<int>(reply.status), static_cast<int>(status));
  EXPECT_EQ(reply.record, record);
}

TEST_F(FileArbiterTest, HasNoRecordAtFirst) {
  expect_reply(arbiter_->read("web", kTimeout), ArbiterReply::Status::ok, std::nullopt);
}

TEST_F(FileArbiterTest, SwapsAndKeepsOneRecordPerVm) {
  expect_reply(arbiter_->swap("web", std::nullopt, kFirst, kTimeout), ArbiterReply::Status::ok, kFirst);
  expect_reply(arbiter_->swap("db", std::nullopt, kPromoted, kTimeout), ArbiterReply::Status::ok, kPromoted);
  expect_reply(arbiter_->swap("web", kFirst, kProtected, kTimeout), ArbiterReply::Status::ok, kProtected);
  expect_reply(open()->read("web", kTimeout), ArbiterReply::Status::ok, kProtected);
  expect_reply(open()->read("db", kTimeout), ArbiterReply::Status::ok, kPromoted);
  EXPECT_THAT(reports_, IsEmpty());
}

TEST_F(FileArbiterTest, ConflictsWithWhatIsInForce) {
  arbiter_->swap("web", std::nullopt, kProtected, kTimeout);
  expect_reply(arbiter_->swap("web", kFirst, kPromoted, kTimeout), ArbiterReply::Status::conflict, kProtected);
  expect_reply(arbiter_->swap("web", std::nullopt, kFirst, kTimeout), ArbiterReply::Status::conflict, kProtected);
  expect_reply(arbiter_->swap("db", kFirst, kProtected, kTimeout), ArbiterReply::Status::conflict, std::nullopt);
  expect_reply(arbiter_->read("web", kTimeout), ArbiterReply::Status::ok, kProtected);
}

TEST_F(FileArbiterTest, RepeatedSwapIsOk) {
  arbiter_->swap("web", std::nullopt, kFirst, kTimeout);
  arbiter_->swap("web", kFirst, kProtected, kTimeout);
  expect_reply(arbiter_->swap("web", kFirst, kProtected, kTimeout), ArbiterReply::Status::ok, kProtected);
}

TEST_F(FileArbiterTest, IsUnreachableOverACorruptRecordAndLeavesItAlone) {
  for (const std::string text :
       {"", "{", "[]", R"({"vm":"web"})", R"({"vm":"web","generation":-1,"primary":"a","secondary":""})",
        R"({"vm":"web","generation":0,"primary":"a","secondary":""})",
        R"({"vm":"web","generation":1,"primary":"","secondary":"b"})",
        R"({"vm":"db","generation":1,"primary":"a","secondary":"b"})",
        R"({"vm":"web","generation":1,"primary":7,"secondary":"b"})"}) {
    write(text);
    reports_.clear();
    expect_reply(arbiter_->read("web", kTimeout), ArbiterReply::Status::unreachable, std::nullopt);
    expect_reply(arbiter_->swap("web", std::nullopt, kFirst, kTimeout), ArbiterReply::Status::unreachable,
                 std::nullopt);
    ASSERT_EQ(reports_.size(), 2U);
    EXPECT_THAT(reports_[0], HasSubstr("no valid record"));
    std::ifstream file(directory_ / "web.json");
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
  }
}

TEST_F(FileArbiterTest, WaitsForTheLockNoLongerThanTheTimeout) {
  const UniqueFd other(::open((directory_ / "web.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  ASSERT_EQ(::fcntl(other.get(), F_OFD_SETLK, &whole), 0);
  const auto started = std::chrono::steady_clock::now();
  expect_reply(arbiter_->swap("web", std::nullopt, kFirst, 100 * kMillisecond), ArbiterReply::Status::unreachable,
               std::nullopt);
  const auto waited = std::chrono::steady_clock::now() - started;
  EXPECT_GE(waited, std::chrono::milliseconds(100));
  EXPECT_LT(waited, std::chrono::seconds(2));
  EXPECT_THAT(reports_, ElementsAre(HasSubstr("stays locked")));
  expect_reply(arbiter_->read("web", kTimeout), ArbiterReply::Status::ok, std::nullopt);
}

TEST_F(FileArbiterTest, IsUnreachableWhenTheStorageIsGone) {
  fs::remove_all(directory_);
  expect_reply(arbiter_->read("web", kTimeout), ArbiterReply::Status::unreachable, std::nullopt);
  expect_reply(arbiter_->swap("web", std::nullopt, kFirst, kTimeout), ArbiterReply::Status::unreachable, std::nullopt);
}

TEST_F(FileArbiterTest, MustHaveADirectory) {
  const auto refused = FileArbiter::open(directory_ / "nowhere", [](const std::string&) {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("does not exist"));
}

/// Runs `work` in a child process and returns its pid; the child ends with what `work` returns.
pid_t spawn(const std::function<int()>& work) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(work());
  return pid;
}

TEST_F(FileArbiterTest, OneOfManySwapsWins) {
  constexpr int kHosts = 6;
  arbiter_->swap("web", std::nullopt, kFirst, kTimeout);
  for (std::uint64_t generation = 1; generation < 40; ++generation) {
    const Record current = *arbiter_->read("web", kTimeout).record;
    std::vector<pid_t> children;
    for (int host = 0; host < kHosts; ++host) {
      children.push_back(spawn([&] {
        const Record desired{current.generation + 1, "host" + std::to_string(host), ""};
        const auto reply = arbiter_->swap("web", current, desired, 10 * kSecond);
        return reply.status == ArbiterReply::Status::ok ? host + 1 : 0;
      }));
    }
    int winners = 0;
    int winner = -1;
    for (const pid_t pid : children) {
      int status = 0;
      ASSERT_EQ(::waitpid(pid, &status, 0), pid);
      ASSERT_TRUE(WIFEXITED(status));
      if (WEXITSTATUS(status) == 0) continue;
      ++winners;
      winner = WEXITSTATUS(status) - 1;
    }
    ASSERT_EQ(winners, 1);
    expect_reply(arbiter_->read("web", kTimeout), ArbiterReply::Status::ok,
                 Record{generation + 1, "host" + std::to_string(winner), ""});
  }
}

TEST_F(FileArbiterTest, ThreadsOfOneProcessExcludeEachOther) {
  constexpr std::uint64_t kIncrementsEach = 50;
  arbiter_->swap("web", std::nullopt, kFirst, kTimeout);
  const auto increment = [&] {
    for (std::uint64_t done = 0; done < kIncrementsEach;) {
      const Record current = *arbiter_->read("web", kTimeout).record;
      // Each thread's record differs, so a repeated success can't be taken for the other's.
      const Record desired{current.generation + 1,
                           std::to_string(std::hash<std::thread::id>{}(std::this_thread::get_id())), ""};
      if (arbiter_->swap("web", current, desired, 10 * kSecond).status == ArbiterReply::Status::ok) ++done;
    }
  };
  std::thread one(increment);
  std::thread two(increment);
  one.join();
  two.join();
  EXPECT_EQ(arbiter_->read("web", kTimeout).record->generation, 1 + 2 * kIncrementsEach);
}

TEST_F(FileArbiterTest, AKilledSwapLeavesTheOldOrTheNewRecord) {
  constexpr std::uint64_t kRounds = 40;
  std::mt19937 random(11);
  arbiter_->swap("web", std::nullopt, kFirst, kTimeout);
  std::uint64_t last = 1;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    // The child swaps as fast as it can until it is killed.
    const pid_t child = spawn([&]() -> int {
      for (std::uint64_t generation = last;; ++generation)
        arbiter_->swap("web", arbiter_->read("web", kTimeout).record, Record{generation + 1, "a", "b"}, kTimeout);
    });
    std::this_thread::sleep_for(std::chrono::microseconds(500 + random() % 40000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    const auto left = arbiter_->read("web", kTimeout);
    ASSERT_EQ(static_cast<int>(left.status), static_cast<int>(ArbiterReply::Status::ok)) << "round " << round;
    ASSERT_GE(left.record->generation, last);
    last = left.record->generation + 1;
    expect_reply(arbiter_->swap("web", left.record, Record{last, "b", ""}, kTimeout), ArbiterReply::Status::ok,
                 Record{last, "b", ""});
  }
  EXPECT_GT(last, 1 + kRounds + 10) << "no child got far enough to be killed at work";
  EXPECT_THAT(reports_, IsEmpty());
}

}  // namespace
}  // namespace twinstep::io
