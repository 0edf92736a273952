// SPDX-License-Identifier: Apache-2.0
// The parts of the guest's init. Nothing here depends on time or chance except where a name says so: two virtual
// machines in the same state must give the same answers.
#ifndef TWINSTEP_TESTS_LAB_GUEST_AGENT_H
#define TWINSTEP_TESTS_LAB_GUEST_AGENT_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { kIoTimeoutSeconds = 60 };

// Whether the guest speaks IPv6 (twinstep.ip6 on its command line). Its sockets take both then, and IPv4 peers have
// mapped addresses.
bool has_ipv6(void);

union PeerAddress {
  struct sockaddr any;
  struct sockaddr_in four;
  struct sockaddr_in6 six;
};

// A socket of this type on `port`, of every address the guest has.
int bound_socket(int type, uint16_t port);

// Handles one accepted connection; the caller closes it.
typedef void (*ConnectionHandler)(int connection, const union PeerAddress* peer);

// Listens on TCP `port` with `workers` threads, each of which serves one connection at a time: so many connections are
// open at once at most, and the next ones wait in the backlog. Does not return on failure: the guest is useless then.
void serve_tcp(uint16_t port, int workers, ConnectionHandler handler);

// Starts a detached thread with a small stack.
void start_thread(void* (*body)(void*), void* argument);

// Sends all of it; false when the peer is gone or takes nothing for kIoTimeoutSeconds.
bool send_all(int connection, const void* data, size_t bytes, int flags);

// Content as content.h defines it. send_content_paced sends bytes_per_second, in steps of 10 ms.
void content_init(void);
bool send_content(int connection, uint64_t seed, uint64_t offset, uint64_t bytes);
bool send_content_paced(int connection, uint64_t seed, uint64_t bytes_per_second, uint64_t bytes);

uint64_t monotonic_ns(void);
void sleep_ns(uint64_t duration_ns);

// TCP and UDP echo on `port`.
void start_echo(uint16_t port);

// Answers each datagram on `port` with the clock, which no two machines agree on.
void start_clock(uint16_t port);

// HTTP/1.1 on `port`; http.c lists what it serves.
void start_http(uint16_t port);

// A load that writes `pages_per_second` pages at random places in a working set. What it writes depends only on how
// many pages it has written, and every page is checked before it is written again.
enum { kWorkingSetPagesMax = 40960 };
struct DirtyLoad {
  uint64_t pages_per_second;
  uint64_t working_set_pages;
  uint64_t errors;  // pages found with a content that was never written there
};
void start_dirty_load(void);
// Uses so many pages more, for good. False: there is no memory for them.
bool fill_memory(uint64_t pages);
bool set_dirty_load(uint64_t pages_per_second, uint64_t working_set_pages);
struct DirtyLoad get_dirty_load(void);

// Writes a known set of pages whenever the second serial port tells it to (epochs.c). Does nothing without such a port.
void start_epoch_load(void);

#endif
