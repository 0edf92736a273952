// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server (RFC 9112): keep-alive and Connection: close, Content-Length only, no Date header.
//   GET /bytes/N?seed=S                 N bytes of content
//   GET /stream/BYTES_PER_SECOND/N?seed=S   the same, paced
//   PUT /upload                         takes the body; {"bytes":N,"fnv1a64":"HEX"}
//   GET /connect/PORT/N?seed=S          opens a connection to the requester's PORT and sends N bytes there
//   GET /dirty, GET /dirty/PAGES_PER_SECOND/WORKING_SET_PAGES   shows and sets the load that dirties memory
//   GET /fill/PAGES                     uses so many pages of memory more, for good; answers as /dirty
//   GET /clock                          {"monotonic_ns":N}: differs from one machine to the other by design
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"

enum { kHttpWorkers = 64, kHeadBytesMax = 4096, kReplyBytesMax = 256, kBodyChunkBytes = 16 * 1024 };

struct Request {
  char method[8];
  char target[256];
  uint64_t content_length;
  bool close;
};

// What has been received and not yet used, so that a client may send several requests at once.
struct Input {
  char data[kHeadBytesMax + 1];
  size_t bytes;
};

struct Exchange {
  int connection;
  const union PeerAddress* peer;
  const struct Request* request;
  struct Input* input;
};

static void drop_input(struct Input* input, size_t bytes) {
  memmove(input->data, input->data + bytes, input->bytes - bytes);
  input->bytes -= bytes;
}

// Receives until the head is whole. Returns its length with the empty line, 0 when the peer is done or sends nonsense.
static size_t receive_head(int connection, struct Input* input) {
  for (;;) {
    input->data[input->bytes] = '\0';
    const char* end = strstr(input->data, "\r\n\r\n");
    if (end != NULL) return (size_t)(end - input->data) + 4;
    if (input->bytes == kHeadBytesMax) return 0;
    const ssize_t received = recv(connection, input->data + input->bytes, kHeadBytesMax - input->bytes, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return 0;
    input->bytes += (size_t)received;
  }
}

static void parse_header_line(const char* line, struct Request* request) {
  if (strncasecmp(line, "Content-Length:", 15) == 0) request->content_length = strtoull(line + 15, NULL, 10);
  if (strncasecmp(line, "Connection: close", 17) == 0) request->close = true;
}

static bool parse_head(char* head, struct Request* request) {
  memset(request, 0, sizeof(*request));
  char* rest = NULL;
  const char* line = strtok_r(head, "\r\n", &rest);
  int minor = 0;
  if (line == NULL || sscanf(line, "%7s %255s HTTP/1.%d", request->method, request->target, &minor) != 3) return false;
  request->close = minor == 0;
  while ((line = strtok_r(NULL, "\r\n", &rest)) != NULL) parse_header_line(line, request);
  return true;
}

static bool send_reply_head(const struct Exchange* exchange, const char* status, const char* type, uint64_t bytes) {
  char head[kReplyBytesMax];
  const int head_bytes =
      snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %llu\r\nConnection: %s\r\n\r\n",
               status, type, (unsigned long long)bytes, exchange->request->close ? "close" : "keep-alive");
  return send_all(exchange->connection, head, (size_t)head_bytes, bytes > 0 ? MSG_MORE : 0);
}

static bool send_text(const struct Exchange* exchange, const char* status, const char* text) {
  return send_reply_head(exchange, status, "application/json", strlen(text)) &&
         send_all(exchange->connection, text, strlen(text), 0);
}

static uint64_t seed_of(const char* target) {
  const char* seed = strstr(target, "?seed=");
  return seed == NULL ? 0 : strtoull(seed + 6, NULL, 10);
}

static bool reply_content(const struct Exchange* exchange, uint64_t bytes) {
  return send_reply_head(exchange, "200 OK", "application/octet-stream", bytes) &&
         send_content(exchange->connection, seed_of(exchange->request->target), 0, bytes);
}

static bool reply_stream(const struct Exchange* exchange, uint64_t bytes_per_second, uint64_t bytes) {
  if (bytes_per_second == 0) return send_text(exchange, "400 Bad Request", "{\"error\":\"rate 0\"}\n");
  return send_reply_head(exchange, "200 OK", "application/octet-stream", bytes) &&
         send_content_paced(exchange->connection, seed_of(exchange->request->target), bytes_per_second, bytes);
}

static bool reply_clock(const struct Exchange* exchange) {
  char text[kReplyBytesMax];
  snprintf(text, sizeof(text), "{\"monotonic_ns\":%llu}\n", (unsigned long long)monotonic_ns());
  return send_text(exchange, "200 OK", text);
}

static bool reply_dirty(const struct Exchange* exchange) {
  const struct DirtyLoad load = get_dirty_load();
  char text[kReplyBytesMax];
  snprintf(text, sizeof(text), "{\"pages_per_second\":%llu,\"working_set_pages\":%llu,\"errors\":%llu}\n",
           (unsigned long long)load.pages_per_second, (unsigned long long)load.working_set_pages,
           (unsigned long long)load.errors);
  return send_text(exchange, "200 OK", text);
}

static bool connect_back(const struct Exchange* exchange, uint16_t port, uint64_t bytes) {
  union PeerAddress address = *exchange->peer;
  // Both families have the port in the same place.
  address.four.sin_port = htons(port);
  const struct timeval timeout = {.tv_sec = kIoTimeoutSeconds};
  const int connection = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  const bool sent = connect(connection, &address.any, sizeof(address)) == 0 &&
                    send_content(connection, seed_of(exchange->request->target), 0, bytes);
  close(connection);
  return sent;
}

static bool reply_connect(const struct Exchange* exchange, unsigned port, uint64_t bytes) {
  if (port == 0 || port > UINT16_MAX) return send_text(exchange, "400 Bad Request", "{\"error\":\"port\"}\n");
  if (!connect_back(exchange, (uint16_t)port, bytes)) {
    return send_text(exchange, "502 Bad Gateway", "{\"error\":\"connection\"}\n");
  }
  char text[kReplyBytesMax];
  snprintf(text, sizeof(text), "{\"bytes\":%llu}\n", (unsigned long long)bytes);
  return send_text(exchange, "200 OK", text);
}

static uint64_t fnv1a64(uint64_t hash, const unsigned char* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ data[i]) * 0x100000001b3u;
  return hash;
}

static bool reply_upload(const struct Exchange* exchange) {
  unsigned char chunk[kBodyChunkBytes];
  uint64_t hash = 0xcbf29ce484222325u;
  uint64_t left = exchange->request->content_length;
  const size_t early = left < exchange->input->bytes ? (size_t)left : exchange->input->bytes;
  hash = fnv1a64(hash, (const unsigned char*)exchange->input->data, early);
  drop_input(exchange->input, early);
  left -= early;
  while (left > 0) {
    const ssize_t received = recv(exchange->connection, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    hash = fnv1a64(hash, chunk, (size_t)received);
    left -= (uint64_t)received;
  }
  char text[kReplyBytesMax];
  snprintf(text, sizeof(text), "{\"bytes\":%llu,\"fnv1a64\":\"%016llx\"}\n",
           (unsigned long long)exchange->request->content_length, (unsigned long long)hash);
  return send_text(exchange, "200 OK", text);
}

static bool answer_get(const struct Exchange* exchange) {
  const char* target = exchange->request->target;
  unsigned long long first = 0;
  unsigned long long second = 0;
  if (sscanf(target, "/bytes/%llu", &first) == 1) return reply_content(exchange, first);
  if (sscanf(target, "/stream/%llu/%llu", &first, &second) == 2) return reply_stream(exchange, first, second);
  if (sscanf(target, "/connect/%llu/%llu", &first, &second) == 2) {
    return reply_connect(exchange, (unsigned)first, second);
  }
  if (sscanf(target, "/dirty/%llu/%llu", &first, &second) == 2 && !set_dirty_load(first, second)) {
    return send_text(exchange, "400 Bad Request", "{\"error\":\"working set too large\"}\n");
  }
  if (sscanf(target, "/fill/%llu", &first) == 1 && !fill_memory(first)) {
    return send_text(exchange, "400 Bad Request", "{\"error\":\"not enough memory\"}\n");
  }
  if (strncmp(target, "/dirty", 6) == 0 || strncmp(target, "/fill", 5) == 0) return reply_dirty(exchange);
  if (strcmp(target, "/clock") == 0) return reply_clock(exchange);
  return send_text(exchange, "404 Not Found", "{\"error\":\"unknown path\"}\n");
}

static bool answer(const struct Exchange* exchange) {
  const char* method = exchange->request->method;
  if (strcmp(method, "GET") == 0) return answer_get(exchange);
  if (strcmp(method, "PUT") == 0 && strcmp(exchange->request->target, "/upload") == 0) return reply_upload(exchange);
  return send_text(exchange, "405 Method Not Allowed", "{\"error\":\"method\"}\n");
}

static void serve_http(int connection, const union PeerAddress* peer) {
  struct Input input = {.bytes = 0};
  struct Request request;
  do {
    const size_t head_bytes = receive_head(connection, &input);
    if (head_bytes == 0) return;
    input.data[head_bytes - 1] = '\0';
    if (!parse_head(input.data, &request)) return;
    drop_input(&input, head_bytes);
    const struct Exchange exchange = {connection, peer, &request, &input};
    if (!answer(&exchange)) return;
  } while (!request.close);
}

void start_http(uint16_t port) {
  serve_tcp(port, kHttpWorkers, serve_http);
}
