// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/launch/spawn.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "io/unique_fd.hpp"
#include "memory/os_error.hpp"

namespace twinstep::qemu {
namespace {

using io::UniqueFd;
using memory::fail_errno;
using memory::os_message;

struct Child {
  char* const* argv;
  int null_fd;
  int log_fd;
  int failure_fd;  // closed by exec; otherwise gets errno
  std::span<const int> inherited;
  pid_t parent;
};

// Between fork and exec in a process with threads: async-signal-safe calls only. Returns on failure, with errno.
void become(const Child& child) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return;
  if (::getppid() != child.parent) {
    errno = ESRCH;  // the parent ended before the line above took effect
    return;
  }
  if (::setpgid(0, 0) != 0) return;
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (::dup2(child.null_fd, 0) < 0 || ::dup2(child.log_fd, 1) < 0 || ::dup2(child.log_fd, 2) < 0) return;
  if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return;
  for (const int fd : child.inherited) {
    if (::fcntl(fd, F_SETFD, 0) != 0) return;
  }
  ::execvp(child.argv[0], child.argv);
}

// errno of the child's failure; 0 once it has executed the program.
int read_failure(int fd) {
  int error = 0;
  ssize_t got = 0;
  do {
    got = ::read(fd, &error, sizeof(error));
  } while (got < 0 && errno == EINTR);
  return got == sizeof(error) ? error : 0;
}

}  // namespace

Result<pid_t> spawn(const std::vector<std::string>& args, const std::filesystem::path& log,
                    std::span<const int> inherited) {
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd log_file(::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0640));
  if (!null || !log_file) return fail_errno("cannot open the log of " + args.front() + ", " + log.string());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("cannot make a pipe");
  const UniqueFd failure_read(ends[0]);
  UniqueFd failure_write(ends[1]);

  std::vector<char*> argv;
  argv.reserve(args.size() + 1);
  for (const auto& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));  // execvp's type, which doesn't write
  argv.push_back(nullptr);
  const Child child{argv.data(), null.get(), log_file.get(), failure_write.get(), inherited, ::getpid()};

  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("cannot start a process for " + args.front());
  if (pid == 0) {
    become(child);
    const int error = errno;
    static_cast<void>(::write(child.failure_fd, &error, sizeof(error)) == 0);
    ::_exit(127);
  }
  failure_write.reset();
  if (const int error = read_failure(failure_read.get()); error != 0) {
    ::waitpid(pid, nullptr, 0);
    return fail("cannot run " + args.front() + ": " + os_message(error));
  }
  return pid;
}

}  // namespace twinstep::qemu
