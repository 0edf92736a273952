// SPDX-License-Identifier: Apache-2.0
#include "io/xdp/match_table.hpp"

#include <bpf/bpf.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bpf/abi/twinstep_match.h"
#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

/// A program that has found a connection may still be at it when it is removed. It runs for microseconds, without being
/// preempted; a hypervisor may stop its processor for longer.
constexpr Nanos kRest = kSecond;

std::size_t mapped_bytes() {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return (sizeof(ts_match_flow) * TS_MATCH_FLOWS_MAX + page - 1) / page * page;
}

}  // namespace

Result<std::unique_ptr<MatchTable>> MatchTable::open(int index_map, int flows_map) {
  const std::size_t bytes = mapped_bytes();
  void* flows = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, flows_map, 0);
  if (flows == MAP_FAILED) return fail_os("cannot map the table of connections that the kernel compares");
  return std::unique_ptr<MatchTable>(new MatchTable(index_map, static_cast<ts_match_flow*>(flows), bytes));
}

MatchTable::MatchTable(int index_map, ts_match_flow* flows, std::size_t bytes)
    : index_map_(index_map), flows_(flows), bytes_(bytes) {
  for (std::uint32_t place = 0; place < TS_MATCH_FLOWS_MAX; ++place) free_.push_back({place, 0});
}

MatchTable::~MatchTable() {
  ::munmap(flows_, bytes_);
}

std::optional<std::uint32_t> MatchTable::take(Nanos now) {
  const std::lock_guard lock(mutex_);
  if (free_.empty() || free_.front().usable_ns > now) return std::nullopt;
  const std::uint32_t place = free_.front().number;
  free_.pop_front();
  return place;
}

bool MatchTable::enter(const ts_match_key& key, std::uint32_t place) {
  return bpf_map_update_elem(index_map_, &key, &place, BPF_ANY) == 0;
}

void MatchTable::remove(const ts_match_key& key, std::uint32_t place, Nanos now) {
  bpf_map_delete_elem(index_map_, &key);
  const std::lock_guard lock(mutex_);
  free_.push_back({place, now + kRest});
}

void MatchTable::lend(ts_match_flow& flow) {
  __atomic_store_n(&flow.owner, std::uint32_t{TS_MATCH_KERNEL}, __ATOMIC_RELEASE);
}

void MatchTable::take_back(ts_match_flow& flow) {
  for (;;) {
    std::uint32_t owner = TS_MATCH_KERNEL;
    if (__atomic_compare_exchange_n(&flow.owner, &owner, TS_MATCH_USER, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
        owner == TS_MATCH_USER)
      break;
    ::sched_yield();
  }
  // Before what the link program has entered is read (see ts_match_record).
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

}  // namespace twinstep::io
