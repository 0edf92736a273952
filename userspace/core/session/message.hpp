// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace twinstep::session {

/// What two daemons say to each other about one VM, in order, over the control connection. P: primary to secondary, S:
/// back.
///
///   P prepare --> S prepared            (or refused: text says why)
///   [live rounds on the page stream while the VM runs]
///   P checkpoint_request(e) --> S svm_stopped(e)      S has stopped the SVM and listed its dirty pages
///   [image of epoch e on the page stream]             P has paused, saved, staged and continued the PVM
///   S committed(e)                                    S holds the whole verified image: old output may go out
///   S svm_running(e)                                  S has applied it and continued the SVM: compare again
///   P rest_request(e) --> S svm_stopped(e)            as checkpoint_request, but the SVM rests from then on: S keeps
///                                                     this image and those that follow unasked, and commits each
///   P registered                                      after the first commit: the arbiter names S as secondary
///   P primary_gone                                    the PVM ended, or an operator wants S to take over
///   S secondary_gone / P abort                        protection ends, P goes on solo
///   S failover_request                                an operator at S wants to take over
///   S taken_over                                      S owns the VM now: P must not go on
enum class MessageType : std::uint8_t {
  prepare = 1,
  prepared,
  refused,
  checkpoint_request,
  svm_stopped,
  committed,
  svm_running,
  registered,
  primary_gone,
  secondary_gone,
  abort,
  failover_request,
  taken_over,
  rest_request,
};
const char* to_string(MessageType type);

/// Bulk data that belongs to a message (a VM's definition, dirty pages) is the daemon's and travels as the wire's body.
struct Message {
  MessageType type = MessageType::prepare;
  std::uint64_t generation = 0;  ///< the sender's arbiter generation
  std::uint32_t pairing = 0;     ///< attempt at protecting, counted by the primary; replies repeat it; others are stale
  std::uint32_t epoch = 0;
  std::string text;  ///< a reason for people, at most 1024 bytes
  bool operator==(const Message&) const = default;
};

}  // namespace twinstep::session
