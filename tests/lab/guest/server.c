// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "content.h"

enum { kStackBytes = 64 * 1024, kBacklog = 256, kPaceStepNs = 10 * 1000 * 1000 };

static unsigned char content_block[kContentPeriod];

struct Listener {
  int socket;
  ConnectionHandler handler;
};

static void die(const char* what) {
  perror(what);
  abort();
}

void start_thread(void* (*body)(void*), void* argument) {
  pthread_attr_t attributes;
  pthread_t thread;
  if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstacksize(&attributes, kStackBytes) != 0 ||
      pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) != 0 ||
      pthread_create(&thread, &attributes, body, argument) != 0) {
    die("thread");
  }
  pthread_attr_destroy(&attributes);
}

static void prepare_connection(int connection) {
  const int on = 1;
  const struct timeval timeout = {.tv_sec = kIoTimeoutSeconds};
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

static void* serve_connections(void* argument) {
  const struct Listener* listener = argument;
  for (;;) {
    union PeerAddress peer;
    socklen_t peer_bytes = sizeof(peer);
    const int connection = accept(listener->socket, &peer.any, &peer_bytes);
    if (connection < 0) continue;
    prepare_connection(connection);
    listener->handler(connection, &peer);
    close(connection);
  }
  return NULL;
}

int bound_socket(int type, uint16_t port) {
  const bool six = has_ipv6();
  const int on = 1;
  const int off = 0;
  const int endpoint = socket(six ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
  union PeerAddress own = {.four = {.sin_family = AF_INET, .sin_port = htons(port)}};
  if (six) own.six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
  if (endpoint < 0 || setsockopt(endpoint, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      (six && setsockopt(endpoint, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0) ||
      bind(endpoint, &own.any, six ? sizeof(own.six) : sizeof(own.four)) != 0) {
    die("bind");
  }
  return endpoint;
}

void serve_tcp(uint16_t port, int workers, ConnectionHandler handler) {
  struct Listener* listener = malloc(sizeof(*listener));
  if (listener == NULL) die("memory");
  listener->handler = handler;
  listener->socket = bound_socket(SOCK_STREAM, port);
  if (listen(listener->socket, kBacklog) != 0) die("listen");
  for (int i = 0; i < workers; ++i) start_thread(serve_connections, listener);
}

bool send_all(int connection, const void* data, size_t bytes, int flags) {
  const unsigned char* next = data;
  while (bytes > 0) {
    const ssize_t sent = send(connection, next, bytes, flags);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    next += sent;
    bytes -= (size_t)sent;
  }
  return true;
}

void content_init(void) {
  content_fill(content_block);
}

bool send_content(int connection, uint64_t seed, uint64_t offset, uint64_t bytes) {
  while (bytes > 0) {
    const uint32_t index = content_index(seed, offset);
    const uint64_t to_wrap = kContentPeriod - index;
    const uint64_t piece = bytes < to_wrap ? bytes : to_wrap;
    if (!send_all(connection, content_block + index, (size_t)piece, 0)) return false;
    offset += piece;
    bytes -= piece;
  }
  return true;
}

bool send_content_paced(int connection, uint64_t seed, uint64_t bytes_per_second, uint64_t bytes) {
  const uint64_t start_ns = monotonic_ns();
  uint64_t sent = 0;
  while (sent < bytes) {
    const uint64_t elapsed_us = (monotonic_ns() - start_ns) / 1000;
    const uint64_t allowed = bytes_per_second * elapsed_us / 1000000;
    const uint64_t due = allowed < bytes ? allowed : bytes;
    if (due > sent && !send_content(connection, seed, sent, due - sent)) return false;
    if (due > sent) sent = due;
    if (sent < bytes) sleep_ns(kPaceStepNs);
  }
  return true;
}

uint64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sleep_ns(uint64_t duration_ns) {
  struct timespec left = {.tv_sec = (time_t)(duration_ns / 1000000000u), .tv_nsec = (long)(duration_ns % 1000000000u)};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}
