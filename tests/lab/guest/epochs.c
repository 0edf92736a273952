// SPDX-License-Identifier: Apache-2.0
// A load that writes a known set of pages each time it is told to, for measuring checkpoints. The second serial port
// carries lines "PAGES TAG": write PAGES pages, each fourth of them with TAG in it, then answer "done PAGES". Two VMs
// that are told different tags so write three quarters of their pages alike. Until the next line it goes on writing the
// same pages with the same content, slowly. Nearly half of each page is scrambled numbers, once and for
// all, the rest is zeros: something to compress, but not all of it.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"

enum {
  kPageBytes = 4096,
  kWordsPerPage = kPageBytes / 8,
  kPagesMax = 65536,
  kReservedPages = 3072,  // left to the rest of the guest
  kRewriteStepNs = 10 * 1000 * 1000,
  kRewritesPerStep = 20,
};

struct Pass {
  unsigned long pages;
  unsigned long tag;
  unsigned long number;
};

static void write_page(volatile uint64_t* memory, unsigned long page, const struct Pass* pass) {
  volatile uint64_t* const at = memory + page * kWordsPerPage;
  at[0] = (pass->number << 32) | page;
  at[kWordsPerPage / 2] = page % 4 == 0 ? pass->tag : 0;
  at[kWordsPerPage - 1] = pass->number;
}

// A bijection, so no two words are the same.
static uint64_t scrambled(uint64_t number) {
  number *= 0x9e3779b97f4a7c15u;
  number = (number ^ (number >> 32)) * 0xbf58476d1ce4e5b9u;
  return number ^ (number >> 29);
}

static void fill_page(volatile uint64_t* memory, unsigned long page) {
  const unsigned long first = page * kWordsPerPage;
  for (unsigned long word = 1; word < kWordsPerPage / 2; ++word) memory[first + word] = scrambled(first + word);
}

static unsigned long free_pages(void) {
  struct sysinfo info;
  if (sysinfo(&info) != 0) return 0;
  const unsigned long pages = (unsigned long)(info.freeram * info.mem_unit / kPageBytes);
  return pages > kReservedPages ? pages - kReservedPages : 0;
}

static int open_port(void) {
  const int port = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  struct termios mode;
  if (port < 0 || tcgetattr(port, &mode) != 0) return -1;
  cfmakeraw(&mode);
  return tcsetattr(port, TCSANOW, &mode) == 0 ? port : -1;
}

// Takes what has come so far; true when `line` is a whole one.
static bool read_line(int port, char* line, size_t* bytes, size_t bytes_max) {
  while (*bytes + 1 < bytes_max && read(port, line + *bytes, 1) == 1) {
    if (line[*bytes] != '\n') {
      ++*bytes;
      continue;
    }
    line[*bytes] = '\0';
    *bytes = 0;
    return true;
  }
  return false;
}

static void* run_epochs(void* argument) {
  (void)argument;
  const int port = open_port();
  volatile uint64_t* const memory = mmap(NULL, (size_t)kPagesMax * kPageBytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (port < 0 || memory == MAP_FAILED) return NULL;  // no second port: nobody measures
  madvise((void*)memory, (size_t)kPagesMax * kPageBytes, MADV_NOHUGEPAGE);
  struct Pass pass = {0};
  unsigned long touched = 0;
  unsigned long next = 0;
  char line[64];
  size_t bytes = 0;
  for (;;) {
    sleep_ns(kRewriteStepNs);
    for (int i = 0; i < kRewritesPerStep && pass.pages > 0; ++i) {
      write_page(memory, next, &pass);
      next = (next + 1) % pass.pages;
    }
    struct Pass told = {.number = pass.number + 1};
    if (!read_line(port, line, &bytes, sizeof(line)) || sscanf(line, "%lu %lu", &told.pages, &told.tag) != 2) continue;
    const unsigned long most = touched + free_pages();
    if (told.pages > most) told.pages = most;
    if (told.pages > kPagesMax) told.pages = kPagesMax;
    pass = told;
    next = 0;
    for (; touched < pass.pages; ++touched) fill_page(memory, touched);
    for (unsigned long page = 0; page < pass.pages; ++page) write_page(memory, page, &pass);
    dprintf(port, "done %lu\n", pass.pages);
  }
}

void start_epoch_load(void) {
  start_thread(run_epochs, NULL);
}
