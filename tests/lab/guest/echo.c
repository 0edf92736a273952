// SPDX-License-Identifier: Apache-2.0
// Echo by RFC 862: what arrives on a connection or in a datagram goes back unchanged.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "agent.h"

enum { kEchoWorkers = 64, kStreamChunkBytes = 16 * 1024, kDatagramBytesMax = 65536 };

static void echo_stream(int connection, const struct sockaddr_in* peer) {
  (void)peer;
  unsigned char chunk[kStreamChunkBytes];
  for (;;) {
    const ssize_t received = recv(connection, chunk, sizeof(chunk), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0 || !send_all(connection, chunk, (size_t)received, 0)) return;
  }
}

static void* echo_datagrams(void* argument) {
  static unsigned char datagram[kDatagramBytesMax];
  const uint16_t port = (uint16_t)(uintptr_t)argument;
  const int endpoint = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (endpoint < 0 || bind(endpoint, (const struct sockaddr*)&address, sizeof(address)) != 0) {
    perror("udp echo");
    abort();
  }
  for (;;) {
    struct sockaddr_in peer;
    socklen_t peer_bytes = sizeof(peer);
    const ssize_t received = recvfrom(endpoint, datagram, sizeof(datagram), 0, (struct sockaddr*)&peer, &peer_bytes);
    if (received >= 0) sendto(endpoint, datagram, (size_t)received, 0, (struct sockaddr*)&peer, peer_bytes);
  }
  return NULL;
}

void start_echo(uint16_t port) {
  serve_tcp(port, kEchoWorkers, echo_stream);
  start_thread(echo_datagrams, (void*)(uintptr_t)port);
}
