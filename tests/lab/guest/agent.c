// SPDX-License-Identifier: Apache-2.0
// init of the lab's guest. Kernel command line:
//   twinstep.ip=ADDRESS/PREFIX   eth0's address
//   twinstep.ipN=ADDRESS/PREFIX  ethN's address, N from 1 to 3 (optional)
//   twinstep.gw=ADDRESS          default route (optional)
//   twinstep.ip6=ADDRESS/PREFIX  eth0's IPv6 address; without it the guest speaks IPv4 only
//   twinstep.vlan=ID,ADDRESS/PREFIX  a tagged interface on eth0 (optional)
//   twinstep.dirty=RATE,PAGES    starts the load that dirties memory (optional)
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  kValueBytesMax = 64,
  kCommandLineBytesMax = 4096,
  kDeviceWaitMs = 5000,
  kEchoPort = 7,
  kClockPort = 13,
  kHttpPort = 80
};

static void mount_all(void) {
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, NULL);
  mount("sysfs", "/sys", "sysfs", 0, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
}

static void use_console(void) {
  const int console = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
  if (console < 0) return;
  for (int fd = 0; fd < 3; ++fd) dup2(console, fd);
  if (console > 2) close(console);
  setvbuf(stdout, NULL, _IOLBF, 0);
}

static void load_module(const char* path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST)) {
    printf("module %s: %s\n", path, strerror(errno));
  }
  if (file >= 0) close(file);
}

static void load_modules(void) {
  FILE* list = fopen("/modules/list", "r");
  char path[256];
  while (list != NULL && fscanf(list, "%255s", path) == 1) load_module(path);
  if (list != NULL) fclose(list);
}

// The value of `key=` on the kernel command line; false when it isn't there.
static bool boot_option(const char* key, char value[kValueBytesMax]) {
  static char line[kCommandLineBytesMax];
  FILE* file = fopen("/proc/cmdline", "r");
  if (file == NULL || fgets(line, sizeof(line), file) == NULL) line[0] = '\0';
  if (file != NULL) fclose(file);
  const size_t key_bytes = strlen(key);
  char* rest = NULL;
  for (char* word = strtok_r(line, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest)) {
    if (strncmp(word, key, key_bytes) != 0 || word[key_bytes] != '=') continue;
    snprintf(value, kValueBytesMax, "%s", word + key_bytes + 1);
    return true;
  }
  return false;
}

static pid_t spawn(char* const arguments[]) {
  const pid_t child = fork();
  if (child != 0) return child;
  signal(SIGPIPE, SIG_DFL);
  execv("/bin/busybox", arguments);
  _exit(127);
}

static void run(char* const arguments[]) {
  const pid_t child = spawn(arguments);
  if (child > 0) waitpid(child, NULL, 0);
}

static void write_file(const char* path, const char* text) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  if (write(file, text, strlen(text)) < 0) perror(path);
  close(file);
}

static void wait_for_device(const char* path) {
  for (int waited_ms = 0; access(path, F_OK) != 0 && waited_ms < kDeviceWaitMs; ++waited_ms) sleep_ns(1000000);
}

bool has_ipv6(void) {
  char address[kValueBytesMax];
  return boot_option("twinstep.ip6", address);
}

// Addresses hold at once: the lab has no duplicates to be looked for.
static void configure_ipv6(void) {
  char address[kValueBytesMax];
  const bool wanted = boot_option("twinstep.ip6", address);
  write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", wanted ? "0" : "1");
  write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", wanted ? "0" : "1");
  if (!wanted) return;
  write_file("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
  write_file("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0");
  run((char*[]){"ip", "-6", "address", "add", address, "dev", "eth0", NULL});
}

static void configure_vlan(void) {
  char value[kValueBytesMax];
  char* rest = NULL;
  if (!boot_option("twinstep.vlan", value)) return;
  char* id = strtok_r(value, ",", &rest);
  char* address = strtok_r(NULL, ",", &rest);
  if (id == NULL || address == NULL) {
    printf("twinstep.vlan: not ID,ADDRESS/PREFIX\n");
    return;
  }
  run((char*[]){"ip", "link", "add", "link", "eth0", "name", "vlan0", "type", "vlan", "id", id, NULL});
  run((char*[]){"ip", "address", "add", address, "dev", "vlan0", NULL});
  run((char*[]){"ip", "link", "set", "vlan0", "up", NULL});
}

// Each NIC answers for its own address alone, also on a network that they share.
static void configure_more_nics(void) {
  char device[] = "ethN";
  char key[] = "twinstep.ipN";
  char path[] = "/sys/class/net/ethN";
  char address[kValueBytesMax];
  for (char number = '1'; number <= '3'; ++number) {
    device[sizeof(device) - 2] = key[sizeof(key) - 2] = path[sizeof(path) - 2] = number;
    if (!boot_option(key, address)) continue;
    write_file("/proc/sys/net/ipv4/conf/all/arp_ignore", "1");
    wait_for_device(path);
    run((char*[]){"ip", "address", "add", address, "dev", device, NULL});
    run((char*[]){"ip", "link", "set", device, "up", NULL});
  }
}

static void configure_network(void) {
  char address[kValueBytesMax];
  char gateway[kValueBytesMax];
  run((char*[]){"ip", "link", "set", "lo", "up", NULL});
  if (!boot_option("twinstep.ip", address)) return;
  wait_for_device("/sys/class/net/eth0");
  configure_ipv6();
  run((char*[]){"ip", "address", "add", address, "dev", "eth0", NULL});
  run((char*[]){"ip", "link", "set", "eth0", "up", NULL});
  if (boot_option("twinstep.gw", gateway) && gateway[0] != '\0') {
    run((char*[]){"ip", "route", "add", "default", "via", gateway, NULL});
  }
  configure_vlan();
  configure_more_nics();
}

static void configure_dirty_load(void) {
  char value[kValueBytesMax];
  unsigned long long rate = 0;
  unsigned long long pages = 0;
  start_dirty_load();
  if (!boot_option("twinstep.dirty", value)) return;
  if (sscanf(value, "%llu,%llu", &rate, &pages) != 2 || !set_dirty_load(rate, pages)) {
    printf("twinstep.dirty=%s: not RATE,PAGES with PAGES at most %d\n", value, kWorkingSetPagesMax);
  }
}

static pid_t start_shell(void) {
  return spawn((char*[]){"setsid", "cttyhack", "sh", NULL});
}

// Ticks, collects children as init must, and keeps a shell on the console.
static void run_console(void) {
  pid_t shell = start_shell();
  for (unsigned long tick = 1;; ++tick) {
    sleep_ns(1000000000);
    printf("tick %lu\n", tick);
    for (pid_t child = waitpid(-1, NULL, WNOHANG); child > 0; child = waitpid(-1, NULL, WNOHANG)) {
      if (child == shell) shell = start_shell();
    }
  }
}

int main(void) {
  mount_all();
  use_console();
  signal(SIGPIPE, SIG_IGN);
  load_modules();
  configure_network();
  content_init();
  configure_dirty_load();
  start_epoch_load();
  start_echo(kEchoPort);
  start_clock(kClockPort);
  start_http(kHttpPort);
  printf("twinstep-guest ready\n");
  run_console();
}
