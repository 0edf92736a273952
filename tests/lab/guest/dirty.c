// SPDX-License-Identifier: Apache-2.0
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "agent.h"

enum { kPageBytes = 4096, kWordsPerPage = kPageBytes / 8, kStepNs = 20 * 1000 * 1000, kStepsPerSecond = 50 };

static _Atomic uint64_t wanted_rate;
static _Atomic uint64_t wanted_pages;
static _Atomic uint64_t error_count;

static uint64_t next_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

// The first, middle and last word of a page are tied together, so a page assembled from two versions shows.
static bool page_is_whole(const uint64_t* page, uint64_t number) {
  const uint64_t counter = page[0];
  if (counter == 0) return page[kWordsPerPage / 2] == 0 && page[kWordsPerPage - 1] == 0;
  return page[kWordsPerPage / 2] == (counter ^ number) && page[kWordsPerPage - 1] == counter;
}

static void write_page(volatile uint64_t* page, uint64_t number, uint64_t counter) {
  page[0] = counter;
  page[kWordsPerPage / 2] = counter ^ number;
  page[kWordsPerPage - 1] = counter;
}

static uint64_t* map_working_set(void) {
  void* memory = mmap(NULL, (size_t)kWorkingSetPagesMax * kPageBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    perror("working set");
    abort();
  }
  // Without huge pages a working set of N pages costs N pages.
  madvise(memory, (size_t)kWorkingSetPagesMax * kPageBytes, MADV_NOHUGEPAGE);
  return memory;
}

static void* dirty_pages(void* argument) {
  (void)argument;
  uint64_t* const memory = map_working_set();
  uint64_t random_state = 88172645463325252u;
  uint64_t counter = 0;
  for (;;) {
    sleep_ns(kStepNs);
    const uint64_t pages = wanted_pages;
    if (pages == 0) continue;
    const uint64_t writes = (wanted_rate + kStepsPerSecond - 1) / kStepsPerSecond;
    for (uint64_t i = 0; i < writes; ++i) {
      const uint64_t number = next_random(&random_state) % pages;
      uint64_t* const page = memory + number * kWordsPerPage;
      if (!page_is_whole(page, number)) ++error_count;
      write_page(page, number, ++counter);
    }
  }
  return NULL;
}

bool fill_memory(uint64_t pages) {
  const size_t bytes = (size_t)pages * kPageBytes;
  volatile uint64_t* const memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  madvise((void*)memory, bytes, MADV_NOHUGEPAGE);
  for (uint64_t page = 0; page < pages; ++page) memory[page * kWordsPerPage] = page + 1;
  return true;
}

void start_dirty_load(void) {
  start_thread(dirty_pages, NULL);
}

bool set_dirty_load(uint64_t pages_per_second, uint64_t working_set_pages) {
  if (working_set_pages > kWorkingSetPagesMax) return false;
  wanted_rate = pages_per_second;
  wanted_pages = working_set_pages;
  return true;
}

struct DirtyLoad get_dirty_load(void) {
  return (struct DirtyLoad){.pages_per_second = wanted_rate, .working_set_pages = wanted_pages, .errors = error_count};
}
