// SPDX-License-Identifier: Apache-2.0
// Echo by RFC 862: what arrives on a connection or in a datagram goes back unchanged. And a clock in datagrams.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "agent.h"

enum { kEchoWorkers = 64, kStreamChunkBytes = 16 * 1024, kDatagramBytesMax = 65536 };

static void echo_stream(int connection, const union PeerAddress* peer) {
  (void)peer;
  unsigned char chunk[kStreamChunkBytes];
  for (;;) {
    const ssize_t received = recv(connection, chunk, sizeof(chunk), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0 || !send_all(connection, chunk, (size_t)received, 0)) return;
  }
}

// Takes datagrams for ever. make_reply writes over the datagram and returns the reply's size.
static void answer_datagrams(uint16_t port, size_t (*make_reply)(unsigned char* datagram, size_t bytes)) {
  unsigned char* datagram = malloc(kDatagramBytesMax);
  const int endpoint = bound_socket(SOCK_DGRAM, port);
  if (datagram == NULL) abort();
  for (;;) {
    union PeerAddress peer;
    socklen_t peer_bytes = sizeof(peer);
    const ssize_t received = recvfrom(endpoint, datagram, kDatagramBytesMax, 0, &peer.any, &peer_bytes);
    if (received < 0) continue;
    sendto(endpoint, datagram, make_reply(datagram, (size_t)received), 0, &peer.any, peer_bytes);
  }
}

static size_t same(unsigned char* datagram, size_t bytes) {
  (void)datagram;
  return bytes;
}

static size_t clock_text(unsigned char* datagram, size_t bytes) {
  (void)bytes;
  return (size_t)snprintf((char*)datagram, kDatagramBytesMax, "clock %020llu\n", (unsigned long long)monotonic_ns());
}

static void* echo_datagrams(void* argument) {
  answer_datagrams((uint16_t)(uintptr_t)argument, same);
  return NULL;
}

static void* clock_datagrams(void* argument) {
  answer_datagrams((uint16_t)(uintptr_t)argument, clock_text);
  return NULL;
}

void start_echo(uint16_t port) {
  serve_tcp(port, kEchoWorkers, echo_stream);
  start_thread(echo_datagrams, (void*)(uintptr_t)port);
}

void start_clock(uint16_t port) {
  start_thread(clock_datagrams, (void*)(uintptr_t)port);
}
